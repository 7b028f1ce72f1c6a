"""The guard of a page that is served on this machine: only who has its link gets in.

Any page that the same browser shows could ask for this one, under its address or, by a name server
of its own, under another one. So a request must come under this machine's name and bear the link's
token, and one that writes must come from the page itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

_HERE = frozenset({"127.0.0.1", "localhost", "::1"})
_TOKEN = "token"
_CLOSED = "Open the link that `hierdiff review` has printed; an older one no longer holds.\n"
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

Next = Callable[[Request], Awaitable[Response]]


class TokenGuard:
    """Lets requests with its token pass."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.cookie = f"hierdiff-{secrets.token_hex(4)}"  # browsers keep one jar for all ports

    async def __call__(self, request: Request, call_next: Next) -> Response:
        """Answer a request, or refuse it."""
        refused = self._refusal(request)
        response = PlainTextResponse(refused, 403) if refused else await call_next(request)
        if not refused and request.query_params.get(_TOKEN):
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
        for name, value in _HEADERS.items():
            response.headers[name] = value
        return response

    def _refusal(self, request: Request) -> str:
        host = request.headers.get("host", "")
        if urlsplit(f"//{host}").hostname not in _HERE:
            return "This page is served to this machine alone.\n"
        given = request.query_params.get(_TOKEN) or request.cookies.get(self.cookie, "")
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return _CLOSED
        if request.method not in ("GET", "HEAD") and (
            request.headers.get("origin") != f"{request.url.scheme}://{host}"
        ):
            return "Only the page itself may write.\n"
        return ""
