"""A proxy before an S3 server that passes calls on, or answers in the server's place, badly."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HANGS = 600.0  # seconds, at most: a fault that ends lets them go
_OWN = frozenset({"connection", "expect", "transfer-encoding"})  # headers between two hops


class S3Proxy:
    """Passes calls on; `fault` says what becomes of one instead, by name."""

    def __init__(self, endpoint: str, seed: int = 0) -> None:
        self.host = urlsplit(endpoint).netloc
        self.fault = ""  # of FAULTS; empty: none
        self.calls = 0  # that a fault has met
        self.chance = random.Random(seed)
        proxy = self

        class Handler(_Handler):
            serves = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """The address to use in place of the server's."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End for good."""
        self.fault = ""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    serves: S3Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = FAULTS.get(self.serves.fault)
        if fault is None or not fault(self):
            self._answer(*self._pass_on(body))

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815 (the names that http.server asks for)

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        line = http.client.HTTPConnection(self.serves.host, timeout=60)
        try:
            line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OWN:
                    line.putheader(name, value)
            line.endheaders(body)
            reply = line.getresponse()
            kept = {name: text for name, text in reply.getheaders() if name.lower() not in _OWN}
            return reply.status, kept, reply.read()
        except OSError:
            self.close_connection = True
            return 502, {}, b""
        finally:
            line.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: int = 0) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) - cut])

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has gone
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _refuse(call: _Handler) -> bool:
    call.serves.calls += 1
    call._answer(503, _HEADERS, _ERROR.format(code="ServiceUnavailable").encode())
    return True


def _refuse_some(call: _Handler) -> bool:
    return call.serves.chance.random() < 0.2 and _refuse(call)


def _full(call: _Handler) -> bool:
    if call.command != "PUT":
        return False
    call.serves.calls += 1
    call._answer(500, _HEADERS, _ERROR.format(code="InternalError").encode())
    return True


def _hang(call: _Handler) -> bool:
    call.serves.calls += 1
    until = time.monotonic() + _HANGS
    while call.serves.fault == "hanging" and time.monotonic() < until:
        time.sleep(0.1)
    call.close_connection = True  # a silent server that comes back knows nothing of old lines
    return True


def _drop(call: _Handler) -> bool:
    call.serves.calls += 1
    call.close_connection = True
    return True


def _redirect(call: _Handler) -> bool:
    call.serves.calls += 1
    headers = {"Location": f"{call.serves.endpoint}{call.path}", "x-amz-bucket-region": "nowhere"}
    call._answer(307, headers, _ERROR.format(code="TemporaryRedirect").encode())
    return True


def _cut(call: _Handler) -> bool:
    """Cut bodies: by a byte with the line, or by half with a length that agrees."""
    if call.command != "GET" or "list-type" in call.path or call.serves.chance.random() < 0.5:
        return False
    call.serves.calls += 1
    status, headers, body = call._pass_on(b"")
    if call.serves.chance.random() < 0.5:
        call._answer(status, headers, body[: len(body) // 2])
    else:
        call._answer(status, headers, body, cut=min(1, len(body)))
        call.close_connection = True
    return True


_HEADERS = {"x-amz-request-id": "1"}
_ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>a fault</Message></Error>'
FAULTS: dict[str, Callable[[_Handler], bool]] = {
    "refusing 20 %": _refuse_some,
    "refusing all": _refuse,
    "full": _full,
    "hanging": _hang,
    "cut off": _drop,
    "redirecting": _redirect,
    "cutting bodies": _cut,
}


@contextmanager
def s3_proxy(endpoint: str, seed: int = 0) -> Iterator[S3Proxy]:
    """Run a proxy before an S3 server for the block."""
    proxy = S3Proxy(endpoint, seed)
    try:
        yield proxy
    finally:
        proxy.close()
