"""Who waits for a night outlives what the night outlives."""

from __future__ import annotations

import time

import httpx
import pytest
from prefect.states import Running

from flows.question import Question
from tasks.errors import UnreachableDatabase

REQUEST = httpx.Request("GET", "http://127.0.0.1:4200/api/flow_runs/1")
STATE: object = Running()


def answering(*answers: Exception | None) -> Question[object]:
    """A question that gets these answers in turn, None for a good one."""
    left = list(answers)

    def ask() -> object:
        error = left.pop(0)
        if error is not None:
            raise error
        return STATE, None

    return Question(ask, 900.0)


def status(code: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(code))


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("silent"),
        httpx.RemoteProtocolError("cut"),
        status(503),
        UnreachableDatabase(url="postgresql:///ledger", reason="it restarts"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_servers_that_are_away_are_asked_again(error: Exception) -> None:
    look = answering(error, error, None)
    assert look() is None
    assert look() is None
    assert look() == (STATE, None)


def test_a_server_that_refuses_is_not_asked_again() -> None:
    with pytest.raises(httpx.HTTPStatusError):
        answering(status(401))()


def test_patience_ends_and_starts_anew_with_every_answer() -> None:
    away = httpx.ConnectError("refused")
    look = answering(away, None, away, away)
    look.seconds = 0.2
    assert look() is None
    assert look() == (STATE, None)
    time.sleep(0.3)
    assert look() is None
    time.sleep(0.3)
    with pytest.raises(httpx.ConnectError):
        look()
