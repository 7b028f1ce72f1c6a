"""A worker runs a shard: what is stored, what a second attempt does, what damage costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text

from hierdiff_core.checkpoint import unpack
from hierdiff_core.errors import WrongRevision
from hierdiff_core.models.kandinsky22 import Decoder
from hierdiff_core.png import read_provenance
from tasks.errors import LeaseHeld, PoisonedSubtree
from tasks.holder import holding
from tasks.ledger import Tree, load_images, load_plan, stored_segments, summarise, take_lease
from tasks.object_keys import checkpoint_key
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.states import SubtreeState
from tasks.stores import Stores, open_stores
from tasks.worker.attempt import Progress
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import (
    SmallNight,
    end_states,
    plan_small_night,
    small,
    write_catalogue,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    # The paper's tree, in which a split and all that is stored with it lie in one shard.
    short = small(settings, planner="paper")
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path))


def run_all(night: SmallNight) -> list[Progress]:
    return [
        denoise_shard(night.stores, night.settings, night.run, shard, owner=f"worker {shard}")
        for shard in range(night.settings.shards + 1)
    ]


def test_all_shards_together_make_every_picture_with_the_planned_evaluations(
    planned: SmallNight,
) -> None:
    done = run_all(planned)
    with planned.stores.session() as session:
        facts = summarise(session, planned.run)
    assert facts.images == facts.images_expected == 12
    assert facts.evaluations_done == facts.evaluations_planned
    assert facts.evaluations_done == sum(each.evaluations for each in done)
    assert facts.saving >= 0.4
    assert {each.state for each in facts.subtrees} == {SubtreeState.COMPLETED}
    (energy,) = facts.energy  # of a CPU, whose counters this machine may not show
    assert energy.part == "cpu"
    assert (energy.joules is None) == bool(energy.reason)


def test_a_picture_says_where_it_came_from(planned: SmallNight) -> None:
    run_all(planned)
    with planned.stores.session() as session:
        images = load_images(session, planned.run)
    for image in images.values():
        facts = read_provenance(planned.stores.bucket.get(image.key, image.sha256))
        assert facts is not None
        assert facts.run == str(planned.run)
        assert facts.reference in facts.text.replace(" ", "-") or facts.reference


def test_a_second_attempt_evaluates_nothing(planned: SmallNight) -> None:
    run_all(planned)
    assert sum(each.evaluations for each in run_all(planned)) == 0
    with planned.stores.session() as session:
        facts = summarise(session, planned.run)
    assert facts.evaluations_resumed == facts.evaluations_planned


def test_a_shard_that_another_worker_holds_is_left_alone(planned: SmallNight) -> None:
    with planned.stores.session() as session:
        take_lease(session, planned.run, 1, "somebody else", 60)
    with pytest.raises(LeaseHeld, match="somebody else"):
        denoise_shard(planned.stores, planned.settings, planned.run, 1, owner="me")


def test_splits_leave_their_latents_behind_and_leaves_their_pictures_alone(
    planned: SmallNight,
) -> None:
    run_all(planned)
    bucket = planned.stores.bucket
    with planned.stores.session() as session:
        night, done = load_plan(session, planned.run), stored_segments(session, planned.run)
        images = load_images(session, planned.run)
    kept = [key for name in bucket.list("checkpoints/") for key in unpack(bucket.get(name))]
    splits = [each.id for each in night.plan.segments if not night.plan.is_leaf(each)]
    assert sorted(kept) == sorted(night.keys[split] for split in splits)
    for leaf, image in images.items():
        assert done[night.plan.leaf_segment(leaf).id].sha256 == image.sha256


def test_a_damaged_object_takes_back_what_is_asked_of_it_and_nothing_else_changes(
    planned: SmallNight,
) -> None:
    run_all(planned)
    before = end_states(planned.stores, planned.run)
    with planned.stores.session() as session:
        plan, done = load_plan(session, planned.run).plan, stored_segments(session, planned.run)
    # The split above two leaves is damaged, and the leaves below it have to be made again.
    split = next(each for each in reversed(plan.segments) if len(plan.children[each.id]) > 1)
    damaged = done[split.id].sha256
    planned.stores.bucket.put(checkpoint_key(damaged), b"not a checkpoint")
    redone = lost = list(plan.children[split.id])
    forget(planned, lost)
    for above in reversed(plan.path(split)):
        if done[above.id].sha256 != damaged:
            break
        redone = [*redone, above.id]
    done_again = sum(each.evaluations for each in run_all(planned))
    assert done_again == sum(plan.segments[each].steps for each in redone)
    assert end_states(planned.stores, planned.run) == before


def forget(night: SmallNight, segments: list[int]) -> None:
    with night.stores.session() as session:
        session.execute(
            text("UPDATE segments SET state = 'waiting', sha256 = NULL WHERE segment = ANY(:s)"),
            {"s": segments},
        )


def test_a_picture_that_vanished_is_denoised_again_from_the_split_above_it(
    planned: SmallNight,
) -> None:
    run_all(planned)
    with planned.stores.session() as session:
        images, plan = load_images(session, planned.run), load_plan(session, planned.run).plan
    bucket = planned.stores.bucket
    bucket.delete(images[3].key)
    told = publish(planned.stores, planned.settings, planned.run)
    assert told.missing == 1
    assert len(told.open_subtrees) == 1
    assert sum(each.evaluations for each in run_all(planned)) == plan.leaf_segment(3).steps
    assert publish(planned.stores, planned.settings, planned.run).complete
    assert bucket.get(images[3].key, images[3].sha256)  # the same bits as before


def test_a_device_that_runs_out_of_memory_still_makes_every_picture_and_says_so_once(
    planned: SmallNight, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    predict = Decoder.predict

    def small(self: Decoder, latents: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(self, latents, *rest)

    monkeypatch.setattr(Decoder, "predict", small)
    denoise_shard(planned.stores, planned.settings, planned.run, 0, owner="worker 0")
    caplog.clear()
    done = denoise_shard(planned.stores, planned.settings, planned.run, 1, owner="worker 1")
    assert done.evaluations == done.planned
    told = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("The device's memory does not hold 4 rows; continuing with 2.")


def test_other_weights_than_those_of_the_plan_are_refused_in_one_line(
    planned: SmallNight,
) -> None:
    with planned.stores.session() as session:
        session.execute(
            text("""UPDATE trees SET recipe = jsonb_set(recipe, '{revision}', '"abc"')""")
        )
    with pytest.raises(WrongRevision, match="the plan was made for abc"):
        denoise_shard(planned.stores, planned.settings, planned.run, 0, owner="me")
    with planned.stores.session() as session:
        trunk = summarise(session, planned.run).subtrees[0]
    assert trunk.state is SubtreeState.FAILED
    assert "made for abc" in (trunk.error or "")


def test_a_subtree_that_takes_its_worker_down_again_and_again_is_failed(
    planned: SmallNight,
) -> None:
    for _ in range(5):
        with holding() as gone, planned.stores.session() as session:
            take_lease(session, planned.run, 0, "victim", 60, holder=gone)
    with pytest.raises(PoisonedSubtree, match="5 times in a row"):
        denoise_shard(planned.stores, planned.settings, planned.run, 0, owner="victim")
    assert denoise_shard(planned.stores, planned.settings, planned.run, 0, owner="me").planned


def test_pictures_of_another_night_are_kept_as_they_are_and_cost_nothing(
    planned: SmallNight, tmp_path: Path
) -> None:
    run_all(planned)
    again = another_night(planned, tmp_path)
    assert sum(each.evaluations for each in run_all(again)) == 0
    assert publish(again.stores, again.settings, again.run).complete
    assert end_states(again.stores, again.run) == end_states(planned.stores, planned.run)
    with again.stores.session() as session:
        facts, images = summarise(session, again.run), load_images(session, again.run)
    assert facts.evaluations_reused == facts.evaluations_planned
    with planned.stores.session() as session:
        assert images == load_images(session, planned.run)
    for image in images.values():
        told = read_provenance(again.stores.bucket.get(image.key, image.sha256))
        assert told is not None
        assert told.run == str(planned.run)


def test_a_picture_of_another_night_that_is_gone_costs_its_own_steps_and_no_others(
    planned: SmallNight, tmp_path: Path
) -> None:
    run_all(planned)
    before = end_states(planned.stores, planned.run)
    with planned.stores.session() as session:
        images, plan = load_images(session, planned.run), load_plan(session, planned.run).plan
    planned.stores.bucket.delete(images[5].key)
    again = another_night(planned, tmp_path)
    assert publish(again.stores, again.settings, again.run).missing == 1
    done = sum(each.evaluations for each in run_all(again))
    assert done == plan.leaf_segment(5).steps
    assert publish(again.stores, again.settings, again.run).complete
    assert end_states(again.stores, again.run) == before


def another_night(night: SmallNight, folder: Path) -> SmallNight:
    file = write_catalogue(folder)
    again = plan_small_night(night.stores, night.settings, file, day=date(2026, 11, 23))
    assert again.run != night.run
    return again


def test_stores_are_opened_from_the_settings_alone(planned: SmallNight) -> None:
    with open_stores(planned.settings) as stores:
        assert isinstance(stores, Stores)
        assert end_states(stores, planned.run) == {}


def test_rows_that_may_not_share_steps_get_trees_of_their_own_in_one_night(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings)
    file = tmp_path / "mixed.csv"
    rows = [f"{guidance},a red {it}" for guidance in (2, 4) for it in ("mug", "clock", "lamp")]
    file.write_text("\n".join(["guidance,prompt", *rows, "4,a red mug"]) + "\n")
    with open_stores(short) as stores:
        night = plan_small_night(stores, short, file)
        run_all(night)
        told = publish(stores, short, night.run)
        with stores.session() as session:
            trees = load_plan(session, night.run).trees
            facts = summarise(session, night.run)
    assert told.complete
    assert [(tree.recipe.guidance, tree.leaves) for tree in sorted(trees, key=guidance_of)] == [
        (2.0, 3),
        (4.0, 3),
    ]
    assert (facts.prompts, facts.images) == (7, 6)  # equal prompts share a picture


def guidance_of(tree: Tree) -> float:
    return tree.recipe.guidance
