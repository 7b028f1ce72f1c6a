"""What failed alone is counted, tried again, set aside in the end, and named by its rows."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from tasks import ledger
from tasks.database import session_scope
from tasks.ledger.failures import KILLED
from tasks.records import SegmentRow, Subtree
from tasks.states import SegmentState
from tests.tasks.conftest import make_prompts, store_night


def shard_of_leaf(database: Engine, run: UUID, *, leaf: bool = True) -> tuple[int, int]:
    """Return a shard and a segment of it that ends in a picture, or one that does not."""
    with session_scope(database) as session:
        night = ledger.load_plan(session, run)
    return next(
        (shard, each)
        for shard, segments in enumerate(night.shards)
        for each in segments
        if shard and night.plan.is_leaf(night.plan.segments[each]) is leaf
    )


def state_of(database: Engine, run: UUID, segment: int) -> tuple[SegmentState, int, str | None]:
    with session_scope(database) as session:
        columns = (SegmentRow.state, SegmentRow.failures, SegmentRow.reason)
        place = (SegmentRow.run_id == run, SegmentRow.segment == segment)
        row = session.execute(select(*columns).where(*place)).one()
    return row.state, row.failures, row.reason


def begin(database: Engine, run: UUID, shard: int, *, crashed: bool = False) -> None:
    with session_scope(database) as session:
        ledger.reopen_failures(session, run, shard, crashed=crashed)


def test_a_picture_that_failed_waits_for_the_next_attempt_until_it_has_had_three(
    database: Engine, run: UUID
) -> None:
    shard, leaf = shard_of_leaf(database, run)
    for failures in (1, 2, 3):
        with session_scope(database) as session:
            ledger.fail_segments(session, run, {leaf: f"reason {failures}"})
            failed = ledger.load_failures(session, run)
        assert failed == {leaf: ledger.SegmentFailure(failures, f"reason {failures}", True)}
        begin(database, run, shard)
        wanted = SegmentState.WAITING if failures < 3 else SegmentState.FAILED
        assert state_of(database, run, leaf) == (wanted, failures, f"reason {failures}")


def test_a_cluster_that_failed_is_gone_around_for_good(database: Engine, run: UUID) -> None:
    shard, cluster = shard_of_leaf(database, run, leaf=False)
    with session_scope(database) as session:
        ledger.fail_segments(session, run, {cluster: "not finite"})
    begin(database, run, shard)
    assert state_of(database, run, cluster)[0] is SegmentState.FAILED


def test_what_was_in_flight_when_its_worker_died_is_suspected_and_nothing_else(
    database: Engine, run: UUID
) -> None:
    shard, leaf = shard_of_leaf(database, run)
    with session_scope(database) as session:
        ledger.start_segments(session, run, [leaf])
    begin(database, run, shard)  # its attempt ended in order, so it is not to blame
    assert state_of(database, run, leaf) == (SegmentState.WAITING, 0, None)
    for failures in (1, 2):
        with session_scope(database) as session:
            ledger.start_segments(session, run, [leaf])
        begin(database, run, shard, crashed=True)
        assert state_of(database, run, leaf) == (SegmentState.WAITING, failures, KILLED)
    with session_scope(database) as session:
        assert set(ledger.load_failures(session, run)) == {leaf}


def test_setting_the_one_to_blame_aside_makes_the_next_crash_the_first(
    database: Engine, run: UUID
) -> None:
    shard, leaf = shard_of_leaf(database, run)
    crashes = select(Subtree.crashes).where(Subtree.run_id == run, Subtree.shard == shard)
    for attempt in range(4):
        with session_scope(database) as session:
            ledger.take_lease(session, run, shard, "victim", 60, holder="gone")
            ledger.reopen_failures(session, run, shard, crashed=attempt > 0)
            counted = session.execute(crashes).scalar_one()
            if attempt < 3:
                ledger.start_segments(session, run, [leaf])
                session.execute(
                    Subtree.__table__.update()  # type: ignore[attr-defined]
                    .where(Subtree.run_id == run)
                    .values(lease_owner=None)
                )
        assert counted == (attempt if attempt < 3 else 0)
    assert state_of(database, run, leaf) == (SegmentState.FAILED, 3, KILLED)


def test_something_that_is_finished_makes_the_next_crash_the_first(
    database: Engine, run: UUID
) -> None:
    with session_scope(database) as session:
        session.execute(Subtree.__table__.update().values(crashes=4))  # type: ignore[attr-defined]
        ledger.note_progress(session, run, 1)
        counted = session.execute(
            select(Subtree.shard, Subtree.crashes).where(Subtree.run_id == run)
        ).all()
    assert dict(map(tuple, counted)) == {0: 4, 1: 0, 2: 4}  # type: ignore[arg-type]


def test_what_is_done_after_all_has_not_failed(database: Engine, run: UUID) -> None:
    _, leaf = shard_of_leaf(database, run)
    with session_scope(database) as session:
        ledger.fail_segments(session, run, {leaf: "once"})
        ledger.finish_segments(session, run, {leaf: ledger.Stored("1" * 64, 1)})
        assert ledger.load_failures(session, run) == {}
        assert ledger.list_set_aside(session, run) == ()


def test_every_row_that_asks_for_a_failed_picture_is_named_in_the_order_of_rows(
    database: Engine,
) -> None:
    prompts = make_prompts(8)
    run, night = store_night(database, prompts)
    ends = [night.plan.leaf_segment(leaf).id for leaf in (5, 2)]
    with session_scope(database) as session:
        ledger.fail_segments(session, run, dict.fromkeys(ends, "ValueError: no"))
        aside = ledger.list_set_aside(session, run)
        assert ledger.summarise(session, run).set_aside == aside
    assert [(each.row, each.reference, each.failures) for each in aside] == [
        (3, "SKU-3", 1),
        (6, "SKU-6", 1),
    ]
    assert str(aside[0]) == "row 3 (SKU-3): ValueError: no"


@pytest.mark.parametrize("done", [True, False])
def test_keys_change_for_what_is_still_to_be_done_alone(
    database: Engine, run: UUID, done: bool
) -> None:
    _, leaf = shard_of_leaf(database, run)
    with session_scope(database) as session:
        before = ledger.load_plan(session, run).keys[leaf]
        if done:
            ledger.finish_segments(session, run, {leaf: ledger.Stored("1" * 64, 1)})
        ledger.change_keys(session, run, {leaf: "f" * 64})
    with session_scope(database) as session:
        assert ledger.load_plan(session, run).keys[leaf] == (before if done else "f" * 64)
