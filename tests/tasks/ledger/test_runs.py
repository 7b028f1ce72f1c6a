"""What is done of a run is counted once, can be found, and adds up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select

from tasks import ledger
from tasks.database import session_scope
from tasks.errors import UnknownRun
from tasks.records import SegmentRow
from tasks.rejected import Rejected
from tasks.states import RunState, SegmentState, Stage
from tests.tasks.conftest import NIGHT, RECIPE, make_night_plan, make_prompts, store_night

PICTURE = ledger.StoredImage("images/a.png", "a" * 64, 2048, 64, 64)


def test_only_done_segments_are_finished(database: Engine, run: UUID) -> None:
    with session_scope(database) as session:
        ledger.start_segments(session, run, [0, 1, 2])
        ledger.finish_segments(session, run, {1: ledger.Stored("1" * 64, 100)})
        done = ledger.stored_segments(session, run)
        key = session.execute(select(SegmentRow.key).where(SegmentRow.segment == 1)).scalar_one()
    assert done == {1: ledger.StoredSegment(key, "1" * 64)}


def test_a_shard_finds_its_own_and_the_trunks_segments(database: Engine, run: UUID) -> None:
    with session_scope(database) as session:
        shards = ledger.load_plan(session, run).shards
        for segment in (each for shard in shards for each in shard):
            ledger.finish_segments(session, run, {segment: ledger.Stored("1" * 64, 1)})
        assert set(ledger.stored_segments(session, run, [0, 2])) == {*shards[0], *shards[2]}
        assert ledger.stored_segments(session, run, []) == {}


def test_a_segment_that_is_started_again_counts_its_attempts(database: Engine, run: UUID) -> None:
    for _ in range(3):
        with session_scope(database) as session:
            ledger.start_segments(session, run, [4, 5])
    with session_scope(database) as session:
        row = session.execute(select(SegmentRow).where(SegmentRow.segment == 4)).scalar_one()
    assert (row.state, row.attempts) == (SegmentState.RUNNING, 3)


def test_finishing_a_segment_of_an_unknown_run_is_an_error(database: Engine) -> None:
    with pytest.raises(UnknownRun), session_scope(database) as session:
        ledger.finish_segments(session, uuid4(), {0: ledger.Stored("1" * 64, 1)})


def test_a_picture_recorded_twice_is_one_picture(database: Engine, run: UUID) -> None:
    newer = ledger.StoredImage("images/b.png", "b" * 64, 4096, 64, 64)
    for picture in (PICTURE, newer):
        with session_scope(database) as session:
            ledger.record_images(session, run, {3: picture})
    with session_scope(database) as session:
        assert ledger.load_images(session, run) == {3: newer}


def test_counts_of_workers_at_the_same_moment_add_up(database: Engine, run: UUID) -> None:
    def count(_: int) -> None:
        with session_scope(database) as session:
            ledger.add_evaluations(session, run, 1, done=3)
            ledger.record_metric(
                session, run, Stage.DENOISE, 0.5, device="cpu", details={"slots": 4}
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(20)))
    with session_scope(database) as session:
        summary = ledger.summarise(session, run)
    assert summary.evaluations_done == 60
    assert summary.seconds == {"denoise": 10.0}
    assert summary.devices == {"denoise": "cpu"}
    assert summary.details == {"denoise": {"slots": 4}}


def test_seconds_are_measured_for_each_pixel_of_the_latest_run_of_the_weights(
    database: Engine,
) -> None:
    measured = []
    for width in (64, 128):
        recipe = replace(RECIPE, width=width)
        run, _ = store_night(database, make_prompts(4, recipe), f"shop {width}")
        with session_scope(database) as session:
            ledger.add_evaluations(session, run, 1, done=60)
            ledger.record_metric(session, run, Stage.DENOISE, 3.0, device="cpu")
        with session_scope(database) as session:
            measured.append(ledger.seconds_per_pixel(session, RECIPE.revision))
            assert ledger.seconds_per_pixel(session, "other weights") is None
    assert measured == pytest.approx([3.0 / 60 / (64 * 64), 3.0 / 60 / (128 * 64)])


def test_what_an_attempt_found_done_replaces_what_the_one_before_found(
    database: Engine, run: UUID
) -> None:
    for found in (0, 12):
        with session_scope(database) as session:
            ledger.note_resumed(session, run, 1, found)
    with session_scope(database) as session:
        assert ledger.summarise(session, run).evaluations_resumed == 12


def test_a_summary_says_what_the_plan_says(database: Engine) -> None:
    prompts = make_prompts(9)
    plan, tree = make_night_plan(prompts)
    rejected = (Rejected(10, "Row 10: the prompt is empty"), Rejected(12, "Row 12: ..."))
    with session_scope(database) as session:
        night = ledger.claim_night(session, "shop", NIGHT)
        ledger.store_prompts(session, night.batch, prompts, rejected)
        ledger.store_embeddings(
            session, {leaf.embedding_key: ledger.StoredEmbedding(b"") for leaf in plan.leaves}
        )
        run = ledger.store_plan(session, night.batch, plan, list(ledger.tree_nodes([tree])))
        ledger.record_images(session, run, {0: PICTURE})
    with session_scope(database) as session:
        summary = ledger.summarise(session, run)
    assert (summary.catalogue, summary.business_date) == ("shop", NIGHT)
    assert (summary.recipe, summary.linkage, summary.saving_asked) == (RECIPE, "average", 0.3)
    assert summary.saving == pytest.approx(plan.plan.saving)
    assert (summary.prompts, summary.images, summary.images_missing) == (9, 1, 8)
    assert summary.rejected == rejected
    assert summary.segments == len(plan.keys)
    planned = [subtree.evaluations_planned for subtree in summary.subtrees]
    assert sum(planned) == summary.evaluations_planned == plan.plan.evaluations


def test_runs_are_listed_newest_first(database: Engine, run: UUID) -> None:
    newer, _ = store_night(database, make_prompts(3), catalogue="other")
    with session_scope(database) as session:
        ledger.set_run_state(session, newer, RunState.COMPLETED)
        ledger.record_images(session, newer, {0: PICTURE})
    with session_scope(database) as session:
        first, second = ledger.list_runs(session)
        assert [line.run for line in ledger.list_runs(session, limit=1)] == [newer]
    assert (first.run, first.catalogue, first.images, first.leaves) == (newer, "other", 1, 3)
    assert first.finished_at is not None
    assert (second.run, second.state, second.finished_at) == (run, RunState.PLANNED, None)


def test_a_run_is_found_by_the_start_of_its_id(database: Engine, run: UUID) -> None:
    with session_scope(database) as session:
        for name in ("latest", str(run), str(run)[:8], str(run).upper()):
            assert ledger.find_run(session, name) == run


@pytest.mark.parametrize("name", ["", "no run", "%", "_", "'; DROP TABLE runs"])
def test_a_name_that_no_run_has_is_refused(database: Engine, run: UUID, name: str) -> None:
    with session_scope(database) as session, pytest.raises(UnknownRun):
        ledger.find_run(session, name)


def test_an_ambiguous_start_is_refused(database: Engine) -> None:
    for number in range(17):
        store_night(database, make_prompts(1), catalogue=f"shop {number}")
    with session_scope(database) as session:
        starts = [str(line.run)[0] for line in ledger.list_runs(session)]
        twice = next(start for start in starts if starts.count(start) > 1)
        with pytest.raises(UnknownRun):
            ledger.find_run(session, twice)


def test_no_run_at_all_has_no_latest(database: Engine) -> None:
    with session_scope(database) as session:
        assert ledger.list_runs(session) == ()
        with pytest.raises(UnknownRun):
            ledger.find_run(session)


def test_a_run_that_goes_on_is_not_finished(database: Engine, run: UUID) -> None:
    for state in (RunState.FAILED, RunState.RUNNING):
        with session_scope(database) as session:
            ledger.set_run_state(session, run, state)
    with session_scope(database) as session:
        summary = ledger.summarise(session, run)
        assert (summary.state, summary.finished_at) == (RunState.RUNNING, None)
        with pytest.raises(UnknownRun):
            ledger.set_run_state(session, uuid4(), RunState.FAILED)
        with pytest.raises(UnknownRun):
            ledger.summarise(session, uuid4())
