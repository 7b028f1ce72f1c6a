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
from tasks.holder import holding
from tasks.records import Subtree
from tasks.states import SubtreeState


def _take(
    database: Engine, run: UUID, owner: str, seconds: float = 60.0, holder: str = ""
) -> ledger.Lease:
    flow = f"flow {owner}"
    with session_scope(database) as session:
        return ledger.take_lease(session, run, 1, owner, seconds, holder=holder, flow_run_id=flow)


def _release(
    database: Engine, lease: ledger.Lease, state: SubtreeState, error: str | None = None
) -> None:
    with session_scope(database) as session:
        ledger.release_lease(session, lease, state, error)


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


def test_another_process_of_the_same_owner_does_not_get_a_lease(
    database: Engine, run: UUID
) -> None:
    _take(database, run, "same")
    with pytest.raises(LeaseHeld, match="same"):
        _take(database, run, "same")


def test_a_lease_whose_holder_is_seen_to_be_gone_is_free_at_once(
    database: Engine, run: UUID
) -> None:
    with holding() as gone:
        first = _take(database, run, "same", holder=gone)
        with pytest.raises(LeaseHeld):
            _take(database, run, "other")
    second = _take(database, run, "other")
    assert (first.attempts, second.attempts, second.crashes) == (1, 2, 1)
    assert not second.silent  # nobody is left who could still be at work


def test_a_taker_knows_whether_the_holder_before_it_may_still_live(
    database: Engine, run: UUID
) -> None:
    assert not _take(database, run, "first").silent
    _fall_silent(database)
    assert _take(database, run, "second").silent


def test_a_renewed_lease_lasts_longer(database: Engine, run: UUID) -> None:
    lease = _take(database, run, "worker", seconds=5)
    with session_scope(database) as session:
        until = ledger.renew_lease(session, lease, 500)
    assert until - lease.until > timedelta(seconds=400)


def test_a_worker_that_wakes_up_too_late_finds_its_lease_lost(database: Engine, run: UUID) -> None:
    sleeper = _take(database, run, "sleeper")
    _fall_silent(database)
    _take(database, run, "successor")
    with pytest.raises(LeaseLost, match="sleeper"), session_scope(database) as session:
        ledger.renew_lease(session, sleeper, 60)
    with pytest.raises(LeaseLost, match="sleeper"):
        _release(database, sleeper, SubtreeState.FAILED)
    assert _subtree(database, run).lease_owner == "successor"


def test_a_worker_that_wakes_up_in_time_keeps_its_lease(database: Engine, run: UUID) -> None:
    sleeper = _take(database, run, "sleeper")
    _fall_silent(database)
    with session_scope(database) as session:
        ledger.renew_lease(session, sleeper, 60)
    with pytest.raises(LeaseHeld):
        _take(database, run, "successor")


def test_a_subtree_that_failed_says_why_until_it_is_taken_again(
    database: Engine, run: UUID
) -> None:
    _release(database, _take(database, run, "one"), SubtreeState.FAILED, "out of memory")
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
    _release(database, _take(database, run, "one"), SubtreeState.COMPLETED)
    with session_scope(database) as session:
        assert ledger.open_subtrees(session, run) == tuple(each for each in before if each != 1)


def test_a_subtree_that_does_not_exist_is_named(database: Engine, run: UUID) -> None:
    for known, shard in ((run, 99), (uuid4(), 0)):
        with session_scope(database) as session, pytest.raises(UnknownSubtree, match=str(known)):
            ledger.take_lease(session, known, shard, "worker", 60)


def test_the_leases_of_two_subtrees_are_apart(database: Engine, run: UUID) -> None:
    _take(database, run, "one")
    with session_scope(database) as session:
        assert ledger.take_lease(session, run, 2, "two", 60).shard == 2
