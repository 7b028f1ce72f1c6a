"""A proxy before a server, whose line can be cut and mended."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Proxy:
    """Passes bytes on both ways between a port of this machine and a server, until it is cut."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[socket.socket] = []
        self._whole = threading.Event()
        self._whole.set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listening.getsockname()[1])

    def cut(self) -> None:
        """End all connections, and every new one at once."""
        self._whole.clear()
        for each in self._pairs:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._pairs = []

    def mend(self) -> None:
        """Take connections again."""
        self._whole.set()

    def close(self) -> None:
        """End for good."""
        self.cut()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if not self._whole.is_set():
                client.close()
                continue
            try:
                server = self._connect()
            except OSError:  # the server is away
                client.close()
                continue
            self._pairs += [client, server]
            threading.Thread(target=_serve, args=(client, server), daemon=True).start()


def _serve(client: socket.socket, server: socket.socket) -> None:
    """Pass bytes on both ways until both sides have ended, and then close them."""
    with client, server:
        answers = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
        answers.start()
        _pass_on(client, server)
        answers.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while body := source.recv(1 << 16):
            target.sendall(body)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_to_unix(path: str) -> Iterator[Proxy]:
    """Run a proxy before a Unix socket for the block."""

    def connect() -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        return server

    proxy = Proxy(connect)
    try:
        yield proxy
    finally:
        proxy.close()


@contextmanager
def proxy_to_port(port: int) -> Iterator[Proxy]:
    """Run a proxy before a port of this machine for the block."""
    proxy = Proxy(lambda: socket.create_connection(("127.0.0.1", port), timeout=5))
    try:
        yield proxy
    finally:
        proxy.close()
