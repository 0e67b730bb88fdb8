"""``labelwise review``: the page and what it asks for, served on this machine."""

from __future__ import annotations

import secrets
import sys
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from labelwise.errors import InputError
from labelwise.files import printable
from labelwise.review.decision_files import to_csv
from labelwise.review.decisions import FILE as DECISIONS
from labelwise.review.decisions import DecisionStore, check_name
from labelwise.review.desk import SHOWN, Desk, Filter, both
from labelwise.review.items import BLOBS, Items
from labelwise.review.items import FILE as ITEMS
from labelwise.review.listening import is_loopback, listen, names_of
from labelwise.review.ordering import ActiveOrder
from labelwise.review.security import Gate

STATIC = Path(__file__).parent / "static"
PALETTE = Path(__file__).parents[1] / "palette.css"  # that of the report too
MOST_AT_ONCE = 200
PNG, JPEG = b"\x89PNG", b"\xff\xd8"


def serve(
    run_dir: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
    reviewer: str | None = None,
) -> None:
    """Serve the page for a run's folder until Ctrl-C; prints the address, which holds the key.

    Without a ``port`` it is the usual one, so that an open page finds a server that was started anew, or a free one
    where that is taken. Raises InputError where there is nothing to review, or the address is taken.
    """
    if not host.strip():
        raise InputError("the host is empty, which would be every address: name one, such as 127.0.0.1 or 0.0.0.0")
    if reviewer is not None:
        check_name(reviewer)
    items = Items.open(run_dir / ITEMS)
    with DecisionStore(run_dir / DECISIONS) as store, listen(host, port) as listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        hosts = [f"{name}:{port}" for name in names_of(host)]
        app = create_app(Desk(items, store, ActiveOrder(items)), token=token, hosts=set(hosts), reviewer=reviewer)
        address = f"http://{hosts[0]}/?token={token}"
        sys.stdout.write(f"Review of {items.name}: {int(items.suspect.sum()):,} suspects\n{address}\nCtrl-C ends it.\n")
        if not is_loopback(host):
            sys.stderr.write(
                f"labelwise: anyone who can reach {printable(host)} and learns this address can decide; "
                "what is sent is not encrypted\n"
            )
        sys.stdout.flush()
        if open_browser:
            webbrowser.open(address)
        config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, lifespan="off")
        # Ctrl-C is how a review ends; by then the server has answered what it was asked.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def create_app(desk: Desk, *, token: str, hosts: set[str], reviewer: str | None = None) -> Starlette:
    """The page for a desk: ``token`` opens a session, ``hosts`` are the names and ports it may be called by."""
    pages = Pages(desk, reviewer)
    routes = [
        Route("/", pages.index),
        Route("/api/session", pages.session),
        Route("/api/batch", pages.batch),
        Route("/api/state", pages.state),
        Route("/api/decide", pages.decide, methods=["POST"]),
        Route("/api/undo", pages.undo, methods=["POST"]),
        Route("/api/rerank", pages.rerank, methods=["POST"]),
        Route("/picture/{run}/{position:int}/{column}", pages.picture),
        Route("/decisions.csv", pages.export),
        Route("/palette.css", lambda request: FileResponse(PALETTE)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Gate, token=token, hosts=hosts)],
        exception_handlers={InputError: _refuse},
    )


class Pages:
    """Answers to the page. What waits for the disk runs in a thread, so that no reviewer waits for another."""

    def __init__(self, desk: Desk, reviewer: str | None) -> None:
        self.desk, self.reviewer = desk, reviewer

    def index(self, request: Request) -> Response:
        """The page itself; all that differs is asked for by its script."""
        return FileResponse(STATIC / "index.html")

    def session(self, request: Request) -> Response:
        """What the page must know to begin."""
        items = self.desk.items
        return JSONResponse(
            {
                "csrf": request.scope["csrf"],
                "run": self.desk.run,
                "name": items.name,
                "task": items.task,
                "classes": items.classes,
                "verdicts": self.desk.verdicts,
                "colours": items.colours,
                "labels": len(items),
                "suspects": int(items.suspect.sum()),
                "pairs": self.desk.pairs,
                "reviewer": self.reviewer,
            }
        )

    def batch(self, request: Request) -> Response:
        """The next labels to look at."""
        asked = request.query_params
        self._check_run(asked.get("run", self.desk.run))
        size = min(_number(asked.get("size", "30"), "size", int), MOST_AT_ONCE)
        score = asked.get("score")
        show = asked.get("show", "undecided")
        if show not in SHOWN:
            raise InputError(f"there is no {show!r} to show: choose one of {', '.join(SHOWN)}")
        which = Filter(
            show=show,
            by=asked.get("by", ""),
            given=asked.get("given"),
            suggested=asked.get("suggested"),
            score=None if score is None else _number(score, "score", float),
            suspects=asked.get("suspects", "1") == "1",
        )
        positions, total = self.desk.batch(which, max(size, 1), active=asked.get("order") == "active")
        # What others think must not sway who is yet to decide.
        shown = [self._shown(position, with_decisions=show != "undecided") for position in positions]
        return JSONResponse({"items": shown, "total": total})

    def state(self, request: Request) -> Response:
        """How far the review is, and how far people agree."""
        found, trusted = self.desk.consensus, self.desk.weighted()
        differ = sum(outcome.cell != trusted.layer[key].cell for key, outcome in found.layer.items())
        return JSONResponse(
            {
                "decided": len(found.layer),
                "errors": sum(self.desk.errors().values()),
                "agreement": found.agreement,
                "kappa": found.kappa,
                "conflicts": len(found.conflicts),
                "trust_differs": differ,
                "reviewers": [
                    {"name": name, "decided": count, "agrees": share}
                    for name, (count, share) in found.reviewers.items()
                ],
            }
        )

    async def decide(self, request: Request) -> Response:
        """Record one decision; the answer comes once it is on the disk."""
        sent = await _sent(request, {"run": str, "position": int, "verdict": str, "after": str, "reviewer": str})
        self._check_run(sent["run"])
        made = await run_in_threadpool(
            self.desk.decide, sent["position"], sent["verdict"], sent["after"], sent["reviewer"]
        )
        return JSONResponse(asdict(made))

    async def undo(self, request: Request) -> Response:
        """Take back the reviewer's last decision."""
        sent = await _sent(request, {"run": str, "reviewer": str})
        self._check_run(sent["run"])
        undone = await run_in_threadpool(self.desk.undo, sent["reviewer"])
        if undone is None:
            return JSONResponse({"undone": None, "item": None})
        decision, position = undone
        return JSONResponse({"undone": asdict(decision), "item": None if position is None else self._shown(position)})

    async def rerank(self, request: Request) -> Response:
        """Put the labels in the order of what the decisions so far have taught."""
        await _sent(request, {})
        await run_in_threadpool(self.desk.rerank)
        return JSONResponse({})

    def picture(self, request: Request) -> Response:
        """A picture or a mask of a label; its address names the run, so that a browser may keep it."""
        run, position, column = (request.path_params[name] for name in ("run", "position", "column"))
        content = None
        if run == self.desk.run and column in BLOBS and position < len(self.desk.items):
            content = self.desk.items.blob(position, column)
        if content is None or not content.startswith((PNG, JPEG)):
            return Response(status_code=404)
        kind = "image/png" if content.startswith(PNG) else "image/jpeg"
        return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    def export(self, request: Request) -> Response:
        """All decisions as a CSV file."""
        headers = {"Content-Disposition": 'attachment; filename="decisions.csv"'}
        return Response(to_csv(self.desk.store.all()), media_type="text/csv; charset=utf-8", headers=headers)

    def _check_run(self, run: str) -> None:
        if run != self.desk.run:
            raise InputError("the labels were audited anew meanwhile: reload the page")

    def _shown(self, position: int, *, with_decisions: bool = False) -> dict[str, Any]:
        """An item as the page takes it, its neighbours with their labels."""
        items = self.desk.items
        item = self.desk.item(position)
        shown = asdict(item) | {"both": both(item)}
        for name in ("given_prob", "suggested_prob"):
            shown[name] = shown[name] if shown[name] == shown[name] else None  # JSON has no NaN
        near = [items.item(place) for place in shown["neighbours"] if 0 <= place < len(items)]
        shown["neighbours"] = [
            {"position": each.position, "given": each.given, "suspect": each.suspect, "blobs": each.blobs}
            for each in near
        ]
        if with_decisions:
            shown["decisions"] = [
                {"reviewer": each.reviewer, "verdict": each.verdict, "after": each.after}
                for each in self.desk.decisions_on(item)
            ]
        return shown


async def _sent(request: Request, fields: dict[str, type]) -> dict[str, Any]:
    """The JSON object of a request, with just these fields; raises InputError."""
    try:
        sent = await request.json()
    except ValueError:
        raise InputError("what was sent is no JSON") from None
    if not isinstance(sent, dict) or sent.keys() != fields.keys():
        raise InputError(f"send an object with {', '.join(fields) or 'nothing in it'}")
    for name, kind in fields.items():
        if type(sent[name]) is not kind:
            raise InputError(f"{name} must be {'a whole number' if kind is int else 'text'}")
    return sent


def _number(text: str, name: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}: give a number") from None


def _refuse(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=422)
