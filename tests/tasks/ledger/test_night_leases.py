"""A night is carried out by one process at a time, and a silent one's night falls free."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, update

from tasks import ledger
from tasks.database import session_scope
from tasks.errors import NightLost, NightTaken
from tasks.holder import holding
from tasks.records import Batch
from tests.tasks.conftest import NIGHT


def _take(
    database: Engine, owner: str, seconds: float = 60.0, holder: str = ""
) -> ledger.NightLease:
    with session_scope(database) as session:
        night = ledger.claim_night(session, "shop", NIGHT)
        return ledger.take_night(session, night, owner, seconds, holder=holder)


def _release(database: Engine, lease: ledger.NightLease) -> None:
    with session_scope(database) as session:
        ledger.release_night(session, lease)


def _fall_silent(database: Engine) -> None:
    with session_scope(database) as session:
        session.execute(update(Batch).values(lease_until=func.now() - timedelta(seconds=1)))


def test_of_owners_at_the_same_moment_one_holds_the_night(database: Engine) -> None:
    def try_to_take(owner: str) -> bool:
        try:
            _take(database, owner)
        except NightTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_take, [f"owner-{number}" for number in range(8)])) == 1


def test_a_held_night_names_its_holder_and_the_time_left(database: Engine) -> None:
    _take(database, "flow one", seconds=90)
    with pytest.raises(NightTaken, match=r"2026-11-22.*'shop'.*flow one.*(90|89|88) s"):
        _take(database, "flow two")


def test_another_process_of_the_same_owner_does_not_get_the_night(database: Engine) -> None:
    _take(database, "flow one")
    with pytest.raises(NightTaken):
        _take(database, "flow one")


def test_a_night_whose_holder_is_seen_to_be_gone_is_free_at_once(database: Engine) -> None:
    with holding() as gone:
        _take(database, "flow one", holder=gone)
    assert not _take(database, "flow one").silent


def test_a_night_falls_free_when_its_owner_is_silent_or_lets_go(database: Engine) -> None:
    one = _take(database, "one")
    _fall_silent(database)
    two = _take(database, "two")
    assert (one.silent, two.silent) == (False, True)
    _release(database, one)
    with pytest.raises(NightTaken):
        _take(database, "three")
    _release(database, two)
    _take(database, "three")


def test_a_process_that_wakes_up_too_late_finds_its_night_lost(database: Engine) -> None:
    sleeper = _take(database, "sleeper")
    _fall_silent(database)
    with session_scope(database) as session:
        ledger.renew_night(session, sleeper, 60)  # in time
    _fall_silent(database)
    _take(database, "successor")
    with pytest.raises(NightLost, match="sleeper"), session_scope(database) as session:
        ledger.renew_night(session, sleeper, 60)
