"""A subtree has one worker at a time, and a dead worker's subtree falls free."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, func, update

from tasks import ledger
from tasks.database import session_scope
from tasks.errors import LeaseHeld, LeaseLost, UnknownSubtree
from tasks.records import Subtree
from tasks.states import SubtreeState


def _take(database: Engine, run: UUID, owner: str, seconds: float = 60.0) -> ledger.Lease:
    with session_scope(database) as session:
        return ledger.take_lease(session, run, 1, owner, seconds, flow_run_id=f"flow {owner}")


def _release(
    database: Engine, run: UUID, owner: str, state: SubtreeState, error: str | None = None
) -> None:
    with session_scope(database) as session:
        ledger.release_lease(session, run, 1, owner, state, error)


def _fall_silent(database: Engine) -> None:
    with session_scope(database) as session:
        session.execute(update(Subtree).values(lease_until=func.now() - timedelta(seconds=1)))


def _subtree(database: Engine, run: UUID) -> ledger.SubtreeLine:
    with session_scope(database) as session:
        return ledger.summarise(session, run).subtrees[1]


def test_of_takers_at_the_same_moment_one_gets_the_lease(database: Engine, run: UUID) -> None:
    def try_to_take(owner: str) -> bool:
        try:
            return _take(database, run, owner).owner == owner
        except LeaseHeld:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_take, [f"worker-{number}" for number in range(24)])) == 1
    assert _subtree(database, run).attempts == 1


def test_takers_of_a_lease_that_ran_out_do_not_both_get_it(database: Engine, run: UUID) -> None:
    _take(database, run, "dead")
    _fall_silent(database)

    def try_to_take(owner: str) -> bool:
        try:
            _take(database, run, owner)
        except LeaseHeld:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_take, [f"worker-{number}" for number in range(16)])) == 1


def test_a_held_lease_names_its_owner_and_the_time_left(database: Engine, run: UUID) -> None:
    _take(database, run, "worker one", seconds=90)
    with pytest.raises(LeaseHeld, match=rf"Subtree 1 of run {run}.*worker one.*(90|89|88) s"):
        _take(database, run, "worker two")


def test_its_owner_takes_a_lease_again_and_again(database: Engine, run: UUID) -> None:
    first, second = _take(database, run, "same"), _take(database, run, "same", seconds=600)
    assert (first.attempts, second.attempts) == (1, 2)
    assert second.until > first.until


def test_a_renewed_lease_lasts_longer(database: Engine, run: UUID) -> None:
    lease = _take(database, run, "worker", seconds=5)
    with session_scope(database) as session:
        until = ledger.renew_lease(session, run, 1, "worker", 500)
    assert until - lease.until > timedelta(seconds=400)


def test_a_worker_that_wakes_up_too_late_finds_its_lease_lost(database: Engine, run: UUID) -> None:
    _take(database, run, "sleeper")
    _fall_silent(database)
    _take(database, run, "successor")
    with pytest.raises(LeaseLost, match="sleeper"), session_scope(database) as session:
        ledger.renew_lease(session, run, 1, "sleeper", 60)
    with pytest.raises(LeaseLost, match="sleeper"):
        _release(database, run, "sleeper", SubtreeState.FAILED)
    assert _subtree(database, run).lease_owner == "successor"


def test_a_worker_that_wakes_up_in_time_keeps_its_lease(database: Engine, run: UUID) -> None:
    _take(database, run, "sleeper")
    _fall_silent(database)
    with session_scope(database) as session:
        ledger.renew_lease(session, run, 1, "sleeper", 60)
    with pytest.raises(LeaseHeld):
        _take(database, run, "successor")


def test_a_subtree_that_failed_says_why_until_it_is_taken_again(
    database: Engine, run: UUID
) -> None:
    _take(database, run, "one")
    _release(database, run, "one", SubtreeState.FAILED, "out of memory")
    failed = _subtree(database, run)
    assert (failed.state, failed.error) == (SubtreeState.FAILED, "out of memory")
    assert (failed.lease_owner, failed.lease_until) == (None, None)
    _take(database, run, "two")
    again = _subtree(database, run)
    assert (again.state, again.error, again.finished_at) == (SubtreeState.RUNNING, None, None)
    assert again.flow_run_id == "flow two"
    assert again.started_at == failed.started_at


def test_only_subtrees_that_are_not_completed_are_open(database: Engine, run: UUID) -> None:
    with session_scope(database) as session:
        before = ledger.open_subtrees(session, run)
    _take(database, run, "one")
    _release(database, run, "one", SubtreeState.COMPLETED)
    with session_scope(database) as session:
        assert ledger.open_subtrees(session, run) == tuple(each for each in before if each != 1)


def test_a_subtree_that_does_not_exist_is_named(database: Engine, run: UUID) -> None:
    for known, shard in ((run, 99), (uuid4(), 0)):
        with session_scope(database) as session, pytest.raises(UnknownSubtree, match=str(known)):
            ledger.take_lease(session, known, shard, "worker", 60)
        with session_scope(database) as session, pytest.raises(UnknownSubtree, match=str(shard)):
            ledger.renew_lease(session, known, shard, "worker", 60)


def test_the_leases_of_two_subtrees_are_apart(database: Engine, run: UUID) -> None:
    _take(database, run, "one")
    with session_scope(database) as session:
        assert ledger.take_lease(session, run, 2, "two", 60).shard == 2
