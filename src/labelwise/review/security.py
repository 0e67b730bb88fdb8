"""Who may talk to the page: whoever opened the address that was printed, from the page itself, and nobody else."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSRF_HEADER = "X-CSRF-Token"
LARGEST_BODY = 64 * 1024
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """Lets a request through where it has the session's cookie, and the right host and origin.

    The start-up ``token`` in the address opens a session and leaves the address bar at once. A page elsewhere can
    neither send the cookie (SameSite=Strict), nor give this origin, nor read the CSRF token; a name elsewhere that
    resolves to this machine (DNS rebinding) is none of the ``hosts``.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Iterable[str]) -> None:
        self.app, self.token, self.hosts = app, token, frozenset(hosts)
        self.session = secrets.token_urlsafe(32)
        # Cookies do not know ports: two pages on one machine must not take each other's.
        self.cookie = f"labelwise-{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on to the page."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["csrf"] = self.csrf

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self.app)(scope, receive, send_guarded)

    @property
    def csrf(self) -> str:
        """What the page must send along with every change."""
        return hmac.new(self.session.encode(), b"csrf", "sha256").hexdigest()

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("host", "").lower() not in self.hosts:
            return _refused(421, "this address is not the one that labelwise review printed")
        given = request.query_params.get("token")
        if given is not None:
            return self._open_session(given) if request.method == "GET" else _refused(403, "the token is for reading")
        if not _same(request.cookies.get(self.cookie, ""), self.session):
            return _refused(401, "open the address that labelwise review printed: it holds the key to this page")
        if request.method in ("GET", "HEAD"):
            return None
        origin = f"{request.url.scheme}://{request.headers['host']}"
        if request.headers.get("origin", "").lower() != origin.lower():
            return _refused(403, "the request comes from another page")
        if not _same(request.headers.get(CSRF_HEADER, ""), self.csrf):
            return _refused(403, "the page is of an earlier session: reload it")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _refused(415, "send JSON")
        length = request.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LARGEST_BODY:
            return _refused(413, f"send at most {LARGEST_BODY:,} bytes, and say how many")
        return None

    def _open_session(self, given: str) -> Response:
        if not _same(given, self.token):
            return _refused(401, "the token is not the one that labelwise review printed")
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(self.cookie, self.session, httponly=True, samesite="strict", path="/")
        return response


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _refused(status: int, reason: str) -> Response:
    return PlainTextResponse(f"{reason[:1].upper()}{reason[1:]}.\n", status_code=status)
