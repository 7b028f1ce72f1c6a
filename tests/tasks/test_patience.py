"""Who is patient asks again while a service is away, warns once, and gives up in one line."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest

from tasks.errors import RefusedByStorage, StillAway, UnreachableDatabase
from tasks.patience import AT_ONCE, Patience
from tasks.storage_faults import Place

PLACE = Place("pictures", "http://127.0.0.1:1")
AWAY = UnreachableDatabase(url="postgresql:///ledger", reason="it restarts")


def answering(*answers: Exception | None) -> Callable[[], str]:
    """A call that gets these answers in turn, None for a good one."""
    left = list(answers)

    def call() -> str:
        error = left.pop(0)
        if error is not None:
            raise error
        return "here"

    return call


def test_a_service_that_comes_back_is_waited_for_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    patience, all_wait = Patience(30), Barrier(4)

    def call(left: list[int]) -> str:
        left[0] -= 1
        if left[0] == 0:
            all_wait.wait()
            return "here"
        raise AWAY

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(patience.outlast, partial(call, [3])) for _ in range(4)]
        assert [each.result() for each in answers] == ["here"] * 4
    warned = [line for line in caplog.messages if "Trying again for up to 30 s" in line]
    assert len(warned) == 1
    assert not patience.waits


def test_patience_ends_with_the_line_of_the_service_and_the_time_waited() -> None:
    with pytest.raises(StillAway, match=r"it restarts.* for during 1 s .*_PATIENCE_SECONDS"):
        Patience(1).outlast(answering(*[AWAY] * 20))


def test_who_has_no_patience_gets_the_first_answer() -> None:
    with pytest.raises(UnreachableDatabase):
        AT_ONCE.outlast(answering(AWAY, None))


@pytest.mark.parametrize("refusal", [PLACE.refused("no", "do"), PLACE.missing(), ValueError("no")])
def test_what_will_not_be_answered_otherwise_later_is_asked_once(refusal: Exception) -> None:
    with pytest.raises(type(refusal)):
        Patience(30).outlast(answering(refusal, None))


def test_a_refusal_ends_the_wait() -> None:
    with pytest.raises(RefusedByStorage):
        Patience(30).outlast(answering(AWAY, PLACE.refused("no", "do"), None))
