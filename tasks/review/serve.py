"""Serving the review on this machine until it is stopped."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable

import uvicorn

from hierdiff_core.errors import InvalidSetting
from tasks.review.app import Review, make_app

_HOST = "127.0.0.1"


def serve(review: Review, port: int, show: Callable[[str], None]) -> None:
    """Serve a review on a port, 0 for a free one; its link is shown once it can be opened.

    Raises InvalidSetting where the port is taken.
    """
    token = secrets.token_urlsafe(24)
    with _listen(port) as listener:
        show(f"http://{_HOST}:{listener.getsockname()[1]}/?token={token}")
        # No access log: it would hold the token.
        config = uvicorn.Config(
            make_app(review, token), log_level="warning", access_log=False, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as error:
        listener.close()
        hint = f"it cannot be used ({error.strerror}); choose another one"
        raise InvalidSetting(setting="--port", value=port, hint=hint) from None
    listener.listen()
    return listener
