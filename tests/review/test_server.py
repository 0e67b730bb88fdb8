"""What the page asks for: who gets an answer, and that the answers are right."""

import csv
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from review_folders import CLASSES, make

pytest.importorskip("starlette", reason="the extra 'review' is not installed")
from starlette.testclient import TestClient

from labelwise.errors import InputError
from labelwise.review.decisions import DecisionStore
from labelwise.review.desk import Desk
from labelwise.review.items import Items
from labelwise.review.listening import is_loopback, listen, names_of
from labelwise.review.server import create_app, serve

HOST = "127.0.0.1:1234"
TOKEN = "t" * 43


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "run")


@pytest.fixture
def desk(folder: Path) -> Iterator[Desk]:
    with DecisionStore(folder / "decisions.sqlite") as store:
        yield Desk(Items.open(folder / "review.arrow"), store)


def stranger(desk: Desk) -> TestClient:
    return TestClient(create_app(desk, token=TOKEN, hosts={HOST}), base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture
def client(desk: Desk) -> TestClient:
    found = stranger(desk)
    assert found.get(f"/?token={TOKEN}").status_code == 303
    csrf = found.get("/api/session").json()["csrf"]
    found.headers |= {"Origin": f"http://{HOST}", "X-CSRF-Token": csrf}
    return found


def post(client: TestClient, path: str, body: Any, **options: Any) -> Any:
    return client.post(path, json=body, **options)


def decision(client: TestClient, position: int, verdict: str, after: str, reviewer: str = "ann") -> Any:
    sent = {"position": position, "verdict": verdict, "after": after, "reviewer": reviewer}
    return post(client, "/api/decide", sent | {"run": run_of(client)})


def run_of(client: TestClient) -> str:
    return str(client.get("/api/session").json()["run"])


PATHS = ["/", "/api/session", "/api/batch", "/api/state", "/picture/x/0/picture", "/decisions.csv",
         "/static/review.js", "/static/../server.py", "/nothing"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_told_without_the_token(path: str, desk: Desk) -> None:
    visitor = stranger(desk)
    for address in (
        path,
        f"{path}?token=",
        f"{path}?token={'x' * 43}",
        f"{path}?token={TOKEN[:-1]}",
        f"{path}?token=ü",
    ):
        answer = visitor.get(address)
        assert answer.status_code == 401
        assert "labelwise review printed" in answer.text
        assert not answer.cookies
    visitor.cookies.set("labelwise", TOKEN)
    assert visitor.get(path).status_code == 401


def test_the_token_opens_a_session_and_leaves_the_address(desk: Desk) -> None:
    visitor = stranger(desk)
    answer = visitor.get(f"/?token={TOKEN}")
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert visitor.get("/").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example:1234", "127.0.0.1:1235", "127.0.0.1", "", "127.0.0.1:1234.evil.example"]
)
def test_other_names_for_this_machine_are_refused(host: str, client: TestClient) -> None:
    assert client.get("/api/session", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://127.0.0.1:1235"}, 403),
        ({"X-CSRF-Token": ""}, 403),
        ({"X-CSRF-Token": "0" * 64}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Length": "70000"}, 413),
    ],
)
def test_changes_from_elsewhere_are_refused(
    headers: dict[str, str], status: int, client: TestClient, desk: Desk
) -> None:
    body = {"run": desk.run, "position": 0, "verdict": "exclude", "after": "", "reviewer": "ann"}
    assert post(client, "/api/decide", body, headers=headers).status_code == status
    assert desk.store.all() == []


def test_without_a_cookie_the_csrf_token_alone_does_not_help(client: TestClient, desk: Desk) -> None:
    client.cookies.clear()
    body = {"run": desk.run, "position": 0, "verdict": "exclude", "after": "", "reviewer": "ann"}
    assert post(client, "/api/decide", body).status_code == 401
    assert desk.store.all() == []


@pytest.mark.parametrize("path", ["/", "/api/session", "/static/review.js", "/picture/x/0/picture", "/nothing"])
def test_every_answer_is_closed_to_other_pages(path: str, client: TestClient) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_inline_script(client: TestClient) -> None:
    page = client.get("/").text
    assert "http:" not in page
    assert "https:" not in page
    assert " style=" not in page
    assert " onclick" not in page
    assert page.count("<script") == page.count('<script type="module" src="/static/') == 1


def test_the_first_batch_is_the_worst_suspects(client: TestClient, desk: Desk) -> None:
    answer = client.get("/api/batch?by=ann&size=7").json()
    assert [each["position"] for each in answer["items"]] == list(range(7))
    assert answer["total"] == 30
    item, shown = desk.items.item(3), answer["items"][3]
    assert (shown["given"], shown["suggested"], shown["why"], shown["location"]) == (
        item.given, item.suggested, item.why, item.location,
    )  # fmt: skip
    assert [(each["position"], each["given"]) for each in shown["neighbours"]] == [
        (place, desk.items.item(place).given) for place in item.neighbours
    ]


def brute(desk: Desk, **wanted: Any) -> list[int]:
    """Filters by a loop over all items."""
    standing = desk.store.standing()
    found = []
    for position in range(len(desk.items)):
        item = desk.items.item(position)
        on = [each for each in standing if each.index == item.index]
        is_mine = any(each.reviewer == wanted.get("by") for each in on)
        keep = {
            "all": True,
            "undecided": not is_mine,
            "decided": is_mine,
            "conflicts": len({each.after for each in on}) > 1,
        }[wanted.get("show", "undecided")]
        keep &= wanted.get("given") in (None, item.given) and wanted.get("suggested") in (None, item.suggested)
        keep &= item.score <= wanted.get("score", 1) and (item.suspect or wanted.get("suspects") == "0")
        found += [position] * keep
    return found


def test_filters_are_those_of_a_loop_over_all(client: TestClient, desk: Desk) -> None:
    rng = np.random.default_rng(0)
    for position in range(24):
        for reviewer in ("ann", "bob"):
            if rng.random() < 0.5:
                item = desk.items.item(position)
                verdict = str(rng.choice(["keep", "accept"]))
                decision(client, position, verdict, item.given if verdict == "keep" else item.suggested, reviewer)
    pairs = [{}, {"given": "cat"}, {"given": CLASSES[4], "suggested": CLASSES[5]}, {"given": "no such"}]
    for show in ("undecided", "decided", "conflicts", "all"):
        for pair in pairs:
            for more in ({}, {"score": 0.4}, {"suspects": "0"}):
                asked = {"show": show, "by": "ann", "size": 200} | pair | more
                answer = client.get("/api/batch", params=asked).json()
                expected = brute(desk, **asked)
                assert [each["position"] for each in answer["items"]] == expected, asked
                assert answer["total"] == len(expected)


def test_decisions_are_in_the_store_when_the_answer_comes(client: TestClient, desk: Desk) -> None:
    item = desk.items.item(2)
    answer = decision(client, 2, "other", CLASSES[6])
    assert answer.status_code == 200
    (made,) = desk.store.standing()
    assert (made.index, made.verdict, made.before, made.after, made.reviewer) == (
        20,
        "other",
        item.given,
        CLASSES[6],
        "ann",
    )
    assert answer.json()["number"] == made.number
    (shown,) = client.get("/api/batch?show=decided&by=ann").json()["items"]
    assert shown["decisions"] == [{"reviewer": "ann", "verdict": "other", "after": CLASSES[6]}]
    # Who is yet to decide sees no decision of another.
    assert "decisions" not in client.get("/api/batch?by=bob").json()["items"][2]
    run = run_of(client)
    undone = post(client, "/api/undo", {"run": run, "reviewer": "ann"}).json()
    assert (undone["undone"]["undoes"], undone["item"]["position"]) == (made.number, 2)
    assert desk.store.standing() == []
    assert post(client, "/api/undo", {"run": run, "reviewer": "ann"}).json() == {"undone": None, "item": None}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"position": 999, "verdict": "keep", "after": "cat", "reviewer": "a"}, "no label number"),
        ({"position": -1, "verdict": "keep", "after": "cat", "reviewer": "a"}, "no label number"),
        ({"position": 0, "verdict": "maybe", "after": "", "reviewer": "a"}, "maybe"),
        ({"position": 0, "verdict": "keep", "after": "no", "reviewer": "a"}, "keep cannot set"),
        ({"position": 0, "verdict": "accept", "after": "no", "reviewer": "a"}, "reload the page"),
        ({"position": 0, "verdict": "other", "after": "no", "reviewer": "a"}, "no class"),
        ({"position": 0, "verdict": "other", "after": "", "reviewer": "a"}, "no class"),
        ({"position": 0, "verdict": "both", "after": "no", "reviewer": "a"}, "both labels are"),
        ({"position": 0, "verdict": "exclude", "after": "", "reviewer": "a", "run": "x"}, "audited anew"),
        ({"position": 0, "verdict": "exclude", "after": "", "reviewer": "a", "more": 1}, "send an object"),
        ({"position": 0, "verdict": "exclude", "after": "", "reviewer": " "}, "no name"),
        ({"position": True, "verdict": "keep", "after": "cat", "reviewer": "a"}, "whole number"),
        ({"position": 0, "verdict": "keep", "after": None, "reviewer": "a"}, "text"),
        ({"position": 0}, "send an object"),
        ([], "send an object"),
    ],
)
def test_what_is_refused(body: Any, message: str, client: TestClient, desk: Desk) -> None:
    answer = post(client, "/api/decide", {"run": run_of(client)} | body if isinstance(body, dict) else body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert desk.store.all() == []


@pytest.mark.parametrize("query", ["size=x", "score=x", "show=x"])
def test_filters_that_are_none_are_refused(query: str, client: TestClient) -> None:
    assert client.get(f"/api/batch?{query}").status_code == 422


def test_pictures_come_as_what_they_are(client: TestClient, desk: Desk) -> None:
    run = run_of(client)
    answer = client.get(f"/picture/{run}/5/picture")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == desk.items.blob(5, "picture")
    for path in (f"{run}/5/given_mask", f"{run}/999/picture", f"{run}/5/location", "another/5/picture"):
        assert client.get(f"/picture/{path}").status_code == 404


def test_how_far_people_agree(client: TestClient, desk: Desk) -> None:
    for position, verdicts in enumerate(
        [("keep", "keep"), ("accept", "keep"), ("accept", "accept"), ("accept", "accept")]
    ):
        item = desk.items.item(position)
        for reviewer, verdict in zip(("ann", "bob"), verdicts, strict=True):
            decision(client, position, verdict, item.given if verdict == "keep" else item.suggested, reviewer)
    found = client.get("/api/state").json()
    assert (found["decided"], found["errors"], found["conflicts"], found["agreement"]) == (4, 2, 1, 0.75)
    assert [(each["name"], each["decided"]) for each in found["reviewers"]] == [("ann", 4), ("bob", 4)]


def test_the_export_is_the_trail(client: TestClient) -> None:
    decision(client, 0, "exclude", "")
    answer = client.get("/decisions.csv")
    assert "attachment" in answer.headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["index"], row["verdict"], row["reviewer"]) == ("0", "exclude", "ann")


def test_a_decision_of_another_process_is_seen_at_once(client: TestClient, folder: Path, desk: Desk) -> None:
    with DecisionStore(folder / "decisions.sqlite") as other:
        other.add(index=0, verdict="exclude", before=desk.items.item(0).given, after="", reviewer="ann")
    assert client.get("/api/batch?by=ann").json()["items"][0]["position"] == 1


def test_a_new_order_changes_what_comes_next(folder: Path) -> None:
    seen: list[dict[int, bool]] = []

    def backwards(errors: dict[int, bool]) -> np.ndarray:
        seen.append(errors)
        return np.arange(40)[::-1]

    with DecisionStore(folder / "decisions.sqlite") as store:
        desk = Desk(Items.open(folder / "review.arrow"), store, backwards)
        first, second = desk.items.item(0), desk.items.item(1)
        desk.decide(0, "accept", first.suggested, "ann")
        desk.decide(1, "keep", second.given, "ann")
        desk.decide(2, "cannot_tell", "", "ann")
        client = stranger(desk)
        client.get(f"/?token={TOKEN}")
        csrf = client.get("/api/session").json()["csrf"]
        headers = {"Origin": f"http://{HOST}", "X-CSRF-Token": csrf}
        assert client.get("/api/batch?by=ann&order=active").json()["items"][0]["position"] == 3
        assert post(client, "/api/rerank", {}, headers=headers).status_code == 200
        assert seen == [{0: True, 1: False}]
        assert client.get("/api/batch?by=ann&order=active").json()["items"][0]["position"] == 29
        assert client.get("/api/batch?by=ann").json()["items"][0]["position"] == 3


@pytest.mark.parametrize("task", ["multilabel", "regression", "segmentation"])
def test_labels_of_every_form_are_shown(task: str, tmp_path: Path) -> None:
    folder = make(tmp_path / task, task, look="fields" if task == "regression" else "picture")
    with DecisionStore(folder / "decisions.sqlite") as store:
        desk = Desk(Items.open(folder / "review.arrow"), store)
        client = stranger(desk)
        client.get(f"/?token={TOKEN}")
        shown = client.get("/api/batch?size=3").json()["items"]
        assert len(shown) == 3
        if task == "segmentation":
            assert shown[0]["blobs"] == ["picture", "given_mask", "suggested_mask"]
            assert client.get(f"/picture/{desk.run}/0/suggested_mask").content == desk.items.blob(0, "suggested_mask")


def test_nothing_to_review_and_addresses_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to look at"):
        serve(tmp_path)
    with pytest.raises(InputError, match="cannot listen"):
        serve(folder, host="203.0.113.7")
    with pytest.raises(InputError, match="cannot listen"):
        serve(folder, port=70_000)


def test_a_page_of_another_run_can_decide_nothing(client: TestClient, folder: Path) -> None:
    """Positions mean other labels after another audit; the same audit again, as after a restart, is the same run."""
    shown = run_of(client)
    with DecisionStore(folder / "decisions.sqlite") as store:
        assert Desk(Items.open(folder / "review.arrow"), store).run == shown
        make(folder, count=39)
        later = stranger(Desk(Items.open(folder / "review.arrow"), store))
        later.get(f"/?token={TOKEN}")
        csrf = later.get("/api/session").json()["csrf"]
        later.headers |= {"Origin": f"http://{HOST}", "X-CSRF-Token": csrf}
        assert run_of(later) != shown
        body = {"run": shown, "position": 0, "verdict": "exclude", "after": "", "reviewer": "ann"}
        for answer in (
            post(later, "/api/decide", body),
            post(later, "/api/undo", {"run": shown, "reviewer": "ann"}),
            later.get(f"/api/batch?run={shown}"),
        ):
            assert answer.status_code == 422
            assert "reload the page" in answer.json()["error"]
        assert later.get(f"/picture/{shown}/0/picture").status_code == 404
        assert store.all() == []


@pytest.mark.parametrize(("cell", "is_right"), [("17.5", True), ("-1e3", True), ("abc", False), ("nan", False),
                                                ("inf", False), ("", False)])  # fmt: skip
def test_another_target_is_a_number(cell: str, is_right: bool, tmp_path: Path) -> None:
    folder = make(tmp_path / "run", "regression", "fields")
    with DecisionStore(folder / "decisions.sqlite") as store:
        desk = Desk(Items.open(folder / "review.arrow"), store)
        if is_right:
            assert desk.decide(0, "other", cell, "ann").after == cell
            return
        with pytest.raises(InputError, match="no number"):
            desk.decide(0, "other", cell, "ann")


def test_both_labels_are_a_cell_that_can_be_read_back(desk: Desk) -> None:
    position = next(place for place in range(30) if desk.items.item(place).given == "a|b")
    item = desk.items.item(position)
    assert desk.decide(position, "both", f"a\\|b|{item.suggested}", "ann").after.count("|") == 2
    with pytest.raises(InputError, match="both labels are"):
        desk.decide(position, "both", f"a|b|{item.suggested}", "ann")


def test_the_names_that_a_page_may_be_called_by() -> None:
    assert names_of("127.0.0.1") == ["127.0.0.1", "localhost"]
    assert names_of("::1") == ["[::1]", "localhost"]
    assert names_of("Box.example") == ["box.example"]
    everywhere = names_of("0.0.0.0")
    assert {"localhost", "127.0.0.1", socket.gethostname().lower()} <= set(everywhere)
    assert "0.0.0.0" not in everywhere
    assert all(map(is_loopback, ("localhost", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "box", "192.168.1.2")))


def test_an_address_that_is_shown_is_listened_on() -> None:
    with listen("127.0.0.1", 0) as listener:
        socket.create_connection(listener.getsockname(), timeout=5).close()
        with pytest.raises(InputError, match="cannot listen"):
            listen("127.0.0.1", listener.getsockname()[1])
