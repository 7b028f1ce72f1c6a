"""One bad row costs one picture: every other picture of the night is made, the row is named.

`POISON=96 pytest tests/tasks/worker/test_poison.py` does it for nights of 96 rows, of which 1 and
of which 5 are bad, in about ten minutes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import text

from hierdiff_core.keys import segment_keys
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.sampling.sampler import Finished
from tasks.embed import read_conditionings
from tasks.errors import RowsSetAside
from tasks.ledger import load_plan, summarise
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.states import RunState, SubtreeState
from tasks.stores import open_stores
from tasks.worker import decode
from tasks.worker.decode import DecodeQueue
from tasks.worker.denoise import denoise_shard
from tasks.worker.shard import load_work
from tasks.worker.steering import open_conditioning
from tests.tasks.night_kit import (
    SmallNight,
    end_states,
    plan_small_night,
    small,
    start_over,
    write_catalogue,
)
from tests.tasks.worker.shard_process import run_process

pytestmark = pytest.mark.slow

SIZE = int(os.environ.get("POISON", "24"))
COLOURS = ("red", "blue", "green", "black", "white", "grey", "pink", "brown")
THINGS = (
    "mug",
    "clock",
    "chair",
    "lamp",
    "hat",
    "pot",
    "shoe",
    "bag",
    "bowl",
    "vase",
    "box",
    "jug",
)
WORDS = [(colour, thing) for thing in THINGS for colour in COLOURS][:SIZE]
POISONED = [SIZE // 2, 0, SIZE - 1, SIZE // 3, SIZE // 5]  # rows, from 0
WHOLE = "POISON" in os.environ
every_count = pytest.mark.parametrize("count", [1, 5] if WHOLE else [5])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    short = small(settings, planner="paper", shards=2, steps=4, previews=False)
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path, WORDS))


def references(count: int) -> list[str]:
    return sorted("-".join(WORDS[row]) for row in POISONED[:count])


def embeddings_of(night: SmallNight, count: int) -> dict[int, torch.Tensor]:
    """Return what steers the poisoned rows, by leaf."""
    with night.stores.session() as session:
        plan = load_plan(session, night.run)
    leaves = leaves_of(night, references(count))
    keys = {leaf: plan.leaves[leaf].embedding_key for leaf in leaves}
    found = read_conditionings(night.stores, keys.values())
    return {leaf: found[key].tensors[EMBEDDING] for leaf, key in keys.items()}


def leaves_of(night: SmallNight, wanted: list[str]) -> list[int]:
    prompts = load_work(night.stores, night.run, 0).prompts
    return [leaf for leaf, prompt in enumerate(prompts) if prompt.reference in wanted]


def is_one_of(rows: torch.Tensor, poison: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([(rows - each).abs().amax(dim=1) < 1e-6 for each in poison]).any(dim=0)


def run_all(night: SmallNight) -> list[RowsSetAside]:
    """Run every shard, as a night does; return what those that end incomplete say."""
    told = []
    for shard in range(night.settings.shards + 1):
        try:
            denoise_shard(night.stores, night.settings, night.run, shard, owner=f"worker {shard}")
        except RowsSetAside as aside:
            told.append(aside)
    return told


def check_night(night: SmallNight, count: int, told: list[RowsSetAside], reason: str) -> None:
    """All other pictures are there, and every place that should names the rows."""
    published = publish(night.stores, night.settings, night.run)
    with night.stores.session() as session:
        facts = summarise(session, night.run)
    assert facts.images == facts.images_expected - count == SIZE - count
    assert published.missing == count
    assert facts.state is RunState.FAILED
    assert sorted(each.reference for each in facts.set_aside) == references(count)
    assert {each.row for each in facts.set_aside} == {
        # Line 1 of the file is its header.
        row + 2
        for row in POISONED[:count]
    }
    assert all(reason in each.reason for each in facts.set_aside)
    assert {each.reference for each in published.data.set_aside} == set(references(count))
    said = " ".join(map(str, told))
    assert all(reference in said for reference in references(count)[:1])
    states = {each.state for each in facts.subtrees}
    assert states <= {SubtreeState.COMPLETED, SubtreeState.INCOMPLETE}
    assert SubtreeState.INCOMPLETE in states
    assert not published.data.flat


Poison = Callable[[pytest.MonkeyPatch, list[torch.Tensor], set[int]], None]


def _predicting(
    patch: pytest.MonkeyPatch,
    poison: list[torch.Tensor],
    fault: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    predict = Decoder.predict

    def faulty(self: Decoder, latents: Any, timesteps: Any, conditioning: Any) -> torch.Tensor:
        bad = is_one_of(conditioning[EMBEDDING], poison)
        return fault(predict(self, latents, timesteps, conditioning), bad)

    patch.setattr(Decoder, "predict", faulty)


def gives_nan(patch: pytest.MonkeyPatch, poison: list[torch.Tensor], leaves: set[int]) -> None:
    def fault(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
        return prediction.index_fill(0, bad.nonzero().flatten(), float("nan"))

    _predicting(patch, poison, fault)


def runs_out_of_memory(
    patch: pytest.MonkeyPatch, poison: list[torch.Tensor], leaves: set[int]
) -> None:
    def fault(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
        if bad.any():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prediction

    _predicting(patch, poison, fault)


def cannot_be_decoded(
    patch: pytest.MonkeyPatch, poison: list[torch.Tensor], leaves: set[int]
) -> None:
    add, decoder, ends = DecodeQueue.add, Decoder.decode, list[torch.Tensor]()

    def adding(self: DecodeQueue, finished: Iterable[Finished]) -> Any:
        for done in (finished := list(finished)):
            if set(self.work.plan.members(done.segment)) <= leaves:
                ends.append(done.state.latents)
        return add(self, finished)

    def failing(self: Decoder, latents: torch.Tensor, names: Sequence[str]) -> Any:
        if any(torch.equal(row, end) for row in latents for end in ends):
            raise ValueError("no picture of such latents")
        return decoder(self, latents, names)

    patch.setattr(DecodeQueue, "add", adding)
    patch.setattr(Decoder, "decode", failing)


def cannot_be_encoded(
    patch: pytest.MonkeyPatch, poison: list[torch.Tensor], leaves: set[int]
) -> None:
    picture = decode.picture

    def failing(work: Any, leaf: int, *args: Any, **kwargs: Any) -> Any:
        if leaf in leaves:
            raise ValueError("encoder error -2")
        return picture(work, leaf, *args, **kwargs)

    patch.setattr(decode, "picture", failing)


KINDS: dict[Poison, str] = {
    gives_nan: "its latents are not finite numbers",
    runs_out_of_memory: "OutOfMemoryError: CUDA out of memory",
    cannot_be_decoded: "ValueError: no picture of such latents",
    cannot_be_encoded: "ValueError: encoder error -2",
}


@every_count
def test_rows_that_fail_cost_their_own_pictures_and_are_named(
    planned: SmallNight, count: int
) -> None:
    assert run_all(planned) == []
    undisturbed = end_states(planned.stores, planned.run)
    poison = embeddings_of(planned, count)
    for kind, reason in KINDS.items():
        start_over(planned)
        with pytest.MonkeyPatch.context() as patch:
            kind(patch, list(poison.values()), set(poison))
            told = run_all(planned)
            check_night(planned, count, told, reason)
        made = end_states(planned.stores, planned.run)
        # The rows fail in their own segments, so nothing else has other bits than ever.
        assert len(made) == len(undisturbed) - count, kind
        assert made.items() <= undisturbed.items(), kind
        # Once the fault is gone, a retry makes what is missing, to the same bits.
        assert run_all(planned) == []
        assert publish(planned.stores, planned.settings, planned.run).complete
        assert end_states(planned.stores, planned.run) == undisturbed


def test_a_picture_that_is_stored_and_cannot_be_encoded_anew_costs_itself(
    planned: SmallNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_all(planned) == []
    with planned.stores.session() as session:
        session.execute(text("DELETE FROM images"))
    cannot_be_encoded(monkeypatch, [], set(leaves_of(planned, references(1))))
    told = run_all(planned)
    check_night(planned, 1, told, "ValueError: encoder error -2")


def test_a_row_is_tried_three_times_and_then_left_alone(
    planned: SmallNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = embeddings_of(planned, 1)
    calls: list[int] = []

    def fault(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
        calls.append(int(bad.any()))
        return prediction.index_fill(0, bad.nonzero().flatten(), float("nan"))

    _predicting(monkeypatch, list(poison.values()), fault)
    for failures in (1, 2, 3, 3):
        calls.clear()
        assert len(run_all(planned)) == 1
        with planned.stores.session() as session:
            (aside,) = summarise(session, planned.run).set_aside
        assert aside.failures == failures
    assert calls == []  # the fourth time nothing was evaluated any more


def test_a_cluster_that_fails_is_gone_around_and_its_members_get_their_pictures(
    planned: SmallNight, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (embedding,) = embeddings_of(planned, 1).values()
    marked = embedding / embedding.norm()

    def fault(prediction: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
        return prediction.index_fill(0, bad.nonzero().flatten(), float("nan"))

    predict = Decoder.predict

    def faulty(self: Decoder, latents: Any, timesteps: Any, conditioning: Any) -> torch.Tensor:
        rows = conditioning[EMBEDDING]
        alike = (rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-9)) @ marked[0]
        return fault(predict(self, latents, timesteps, conditioning), alike > nearest)

    with planned.stores.session() as session:
        plan = load_plan(session, planned.run).plan
    leaf = next(iter(embeddings_of(planned, 1)))
    cluster = plan.path(plan.leaf_segment(leaf))[-2]
    work = load_work(planned.stores, planned.run, 0)
    every = open_conditioning(planned.stores, work, range(len(plan.segments)))
    mean = every.mean(plan.members(cluster)).tensors[EMBEDDING][0]
    nearest = float(mean @ marked[0] / mean.norm()) - 1e-4
    monkeypatch.setattr(Decoder, "predict", faulty)
    told = run_all(planned)
    assert told
    with planned.stores.session() as session:
        facts = summarise(session, planned.run)
    failed = {each.reference for each in facts.set_aside}
    assert references(1)[0] in failed
    assert facts.images == SIZE - len(failed)
    work = load_work(planned.stores, planned.run, 0)
    assert work.is_set_aside(cluster.id)
    assert work.plan.leaf_segment(leaf).start == cluster.start
    # What went around it is found under keys that say so, and the next night builds on it.
    recipes = [work.night.trees[0].compatibility_key] * SIZE
    keys = segment_keys(work.plan, work.content_keys, recipes)
    assert all(entry.key == keys[segment] for segment, entry in work.done.items())
    monkeypatch.undo()
    file = write_catalogue(tmp_path, WORDS)
    again = plan_small_night(planned.stores, planned.settings, file, day=date(2026, 11, 23))
    assert run_all(again) == []
    assert publish(again.stores, again.settings, again.run).complete
    with again.stores.session() as session:
        assert summarise(session, again.run).evaluations_reused > 0


@pytest.mark.parametrize("count", [1, 5] if WHOLE else [1])  # each takes several processes
def test_a_row_that_kills_its_process_costs_its_own_picture(
    planned: SmallNight, tmp_path: Path, count: int
) -> None:
    assert run_all(planned) == []
    undisturbed = end_states(planned.stores, planned.run)
    start_over(planned)
    vectors = tmp_path / "poison.npy"
    np.save(vectors, torch.cat(list(embeddings_of(planned, count).values())).numpy())
    kills = 0
    for shard in shards_of_leaves(planned, count):
        while run_process(planned, shard, "poison", vectors) == -signal.SIGKILL:
            kills += 1
            assert kills <= 4 * count
    told = run_all(planned)  # what is set aside is not tried once more
    check_night(planned, count, told, "its worker's process ended while it was under way")
    made = end_states(planned.stores, planned.run)
    assert len(made) == len(undisturbed) - count
    assert made.items() <= undisturbed.items()


def shards_of_leaves(night: SmallNight, count: int) -> list[int]:
    """Return the shards that poisoned rows are in, after all that they need is done."""
    with night.stores.session() as session:
        plan = load_plan(session, night.run)
    ends = {plan.plan.leaf_segment(leaf).id for leaf in leaves_of(night, references(count))}
    denoise_shard(night.stores, night.settings, night.run, 0, owner="trunk")
    return [shard for shard, segments in enumerate(plan.shards) if ends & set(segments)]


def test_a_row_of_a_size_that_no_machine_can_hold_costs_its_own_picture(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "sizes.csv"
    rows = [f"{thing}-{width},{width},a red {thing}" for width in (64, 72) for thing in THINGS[:3]]
    file.write_text("\n".join(["reference,width,prompt", *rows, "vast,80,a blue mug"]) + "\n")
    short = small(settings, planner="paper", shards=1, steps=4, previews=False, slots="auto")
    with open_stores(short) as stores:
        night = plan_small_night(stores, short, file)
        with stores.session() as session:
            # As a row of this size would stand there if ingestion had taken it.
            vast = "UPDATE trees SET recipe = jsonb_set(recipe, '{width}', '10000000000000')"
            session.execute(text(f"{vast} WHERE recipe->>'width' = '80'"))
        (told,) = run_all(night)
        with stores.session() as session:
            facts = summarise(session, night.run)
    assert facts.images == 6
    assert [each.reference for each in facts.set_aside] == ["vast"]
    assert "1 rows were set aside" in str(told)
    assert "row 8 (vast): RuntimeError" in str(told)


def test_a_recipe_of_which_nothing_finite_comes_costs_its_own_rows(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "guidances.csv"
    rows = [f"{thing},1e39,a red {thing}" for thing in THINGS[:10]]
    rows += [f"good {thing},,a blue {thing}" for thing in THINGS[:3]]
    file.write_text("\n".join(["reference,guidance,prompt", *rows]) + "\n")
    short = small(settings, planner="paper", shards=1, steps=4, previews=False)
    with open_stores(short) as stores:
        night = plan_small_night(stores, short, file)
        (told,) = run_all(night)
        with stores.session() as session:
            facts = summarise(session, night.run)
    assert facts.images == 3
    assert sorted(each.reference for each in facts.set_aside) == sorted(THINGS[:10])
    assert "and 5 more" in str(told)
    # Far fewer evaluations than without a stop: the steps of all of them, and of their clusters.
    assert facts.evaluations_done < 13 * 4
