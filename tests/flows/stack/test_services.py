"""A service is ready when it answers itself, not whoever was sooner to take its port."""

from __future__ import annotations

import socket
import sys

import pytest

from flows.stack.services import Service, listens, started_on_free_port
from tests.servers import PATIENCE, Place

pytestmark = pytest.mark.slow


def serve_files(place: Place, port: int) -> Service:
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    log = place.home / "logs" / "files.log"
    return Service("files", command, {}, log, place.guard, lambda files: listens(files, port))


def test_a_service_that_lost_its_port_gets_another_one(server_place: Place) -> None:
    ports, others = list[int](), list[socket.socket]()

    def on_port(port: int) -> Service:
        if not ports:  # somebody else is sooner
            others.append(socket.create_server(("127.0.0.1", port)))
        ports.append(port)
        return serve_files(server_place, port)

    files = started_on_free_port(on_port, PATIENCE, lambda: False)
    try:
        assert len(set(ports)) == 2
        assert listens(files, ports[1])
        assert not listens(files, ports[0])
    finally:
        files.stop()
        others[0].close()
