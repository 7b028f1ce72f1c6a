"""`kill -9` of a worker at any moment: nothing is lost, nothing is done twice beyond what was in
flight, and every split and every picture has the bits of the undisturbed run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from hierdiff_core.models.kandinsky22 import Decoder
from tasks.ledger import load_plan, stored_segments, summarise
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.stores import open_stores
from tasks.worker.attempt import Progress
from tasks.worker.decode import AT_ONCE
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import (
    WORDS,
    SmallNight,
    end_states,
    forget_results,
    plan_small_night,
    small,
    start_over,
    write_catalogue,
)
from tests.tasks.worker.shard_process import run_process

pytestmark = pytest.mark.slow

# Early, in the middle and late, between any two effects.
KILLS = [
    ("round", 1),
    ("round", 3),
    ("round", 6),
    ("round", 9),
    ("object", 1),
    ("object", 4),
    ("object", 11),
    ("stored", 2),
    ("stored", 7),
    ("row", 1),
    ("row", 3),
    ("row", 8),
]


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    torch.set_num_threads(1)
    short = small(settings, shards=1, previews=False)
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path))


def test_a_worker_killed_again_and_again_ends_with_the_bits_of_an_undisturbed_one(
    planned: SmallNight,
) -> None:
    reference = undisturbed(planned)
    for point, number in KILLS:
        start_over(planned)
        assert run_process(planned, 1, point, number) == -signal.SIGKILL, (point, number)
        kept = done_steps(planned)
        resumed = denoise_shard(planned.stores, planned.settings, planned.run, 1, owner="worker")
        total = planned_steps(planned)
        assert resumed.evaluations == total - kept, (point, number)
        assert end_states(planned.stores, planned.run) == reference, (point, number)


def test_a_worker_killed_in_every_attempt_still_comes_to_the_end(planned: SmallNight) -> None:
    reference = undisturbed(planned)
    start_over(planned)
    # Fewer than the crashes in a row after which a subtree counts as poisoned.
    for attempt in range(4):
        assert run_process(planned, 1, "round", 3) == -signal.SIGKILL, attempt
    assert run_process(planned, 1) == 0
    assert end_states(planned.stores, planned.run) == reference
    with planned.stores.session() as session:
        facts = summarise(session, planned.run)
    assert facts.images == facts.images_expected
    assert facts.subtrees[1].attempts == 5


def test_a_worker_that_fails_keeps_the_leaves_that_waited_to_be_decoded(
    planned: SmallNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, told = Decoder.predict, list[Progress]()

    def failing(self: Decoder, *args: Any) -> torch.Tensor:
        if told and told[-1].images % AT_ONCE:
            raise RuntimeError("the device is gone")
        return predict(self, *args)

    monkeypatch.setattr(Decoder, "predict", failing)
    with pytest.raises(RuntimeError, match="the device is gone"):
        denoise_shard(
            planned.stores, planned.settings, planned.run, 1, "worker", report=told.append
        )
    with planned.stores.session() as session:
        facts = summarise(session, planned.run)
    assert facts.images == told[-1].images > 0


def undisturbed(night: SmallNight) -> dict[str, str]:
    denoise_shard(night.stores, night.settings, night.run, 1, owner="worker")
    return end_states(night.stores, night.run)


def done_steps(night: SmallNight) -> int:
    with night.stores.session() as session:
        plan, done = load_plan(session, night.run).plan, stored_segments(session, night.run)
    return sum(plan.segments[each].steps for each in done)


def planned_steps(night: SmallNight) -> int:
    with night.stores.session() as session:
        return load_plan(session, night.run).plan.evaluations


def test_a_night_is_the_same_on_another_date(planned: SmallNight, tmp_path: Path) -> None:
    reference = undisturbed(planned)
    forget_results(planned)
    other = plan_small_night(
        planned.stores, planned.settings, write_catalogue(tmp_path), day=date(2026, 12, 1)
    )
    # Its rows say that an earlier run did the work, but the bucket is empty: it is done again.
    assert publish(other.stores, other.settings, other.run).missing == len(WORDS)
    denoise_shard(other.stores, other.settings, other.run, 1, owner="worker")
    assert end_states(other.stores, other.run) == reference
