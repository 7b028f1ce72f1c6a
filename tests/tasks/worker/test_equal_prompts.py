"""Two catalogues with equal prompts at the same time: what one is making, the other waits for."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.faults.worker import start_worker
from tasks.ledger import load_plan, stored_segments, summarise
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.tasks.night_kit import (
    SmallNight,
    end_states,
    plan_small_night,
    small,
    write_catalogue,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def twins(settings: Settings, tmp_path: Path) -> Iterator[tuple[SmallNight, SmallNight]]:
    torch.set_num_threads(1)
    short, file = small(settings, shards=1, lease_seconds=2.0), write_catalogue(tmp_path)
    with open_stores(short) as stores:
        yield (
            plan_small_night(stores, short, file, catalogue="shop"),
            plan_small_night(stores, short, file, catalogue="outlet"),
        )


@pytest.fixture
def alone(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    torch.set_num_threads(1)
    short = small(settings, shards=1, lease_seconds=60.0)
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path), catalogue="shop")


def undone(stores: Stores, night: SmallNight) -> int:
    with stores.session() as session:
        plan, done = load_plan(session, night.run).plan, stored_segments(session, night.run)
    return len(plan.segments) - len(done)


def test_equal_work_is_done_once_by_two_catalogues_at_the_same_time(
    twins: tuple[SmallNight, SmallNight],
) -> None:
    stores = twins[0].stores
    # Nobody dies here, and on a busy machine nobody is to seem dead.
    settings = twins[0].settings.model_copy(update={"lease_seconds": 60.0})
    workers = [start_worker(settings, night.run, 1, "worker") for night in twins]
    for worker in workers:
        worker.await_end()
    with stores.session() as session:
        facts = [summarise(session, night.run) for night in twins]
    done = [int(worker.ended) for worker in workers]
    assert sum(done) == facts[0].evaluations_planned
    assert [undone(stores, night) for night in twins] == [0, 0]
    assert end_states(stores, twins[0].run) == end_states(stores, twins[1].run)
    for night in twins:
        assert publish(stores, night.settings, night.run).complete


def test_a_night_planned_while_another_is_half_stored_makes_nothing_again(
    alone: SmallNight, tmp_path: Path
) -> None:
    stores, settings = alone.stores, alone.settings
    first = start_worker(settings, alone.run, 1, "worker")
    while not images_of(alone):  # some are stored, others are under way or waiting
        assert first.process.is_alive()
        time.sleep(0.01)
    first.signal(signal.SIGSTOP)
    made = images_of(alone)
    second = plan_small_night(stores, settings, write_catalogue(tmp_path), catalogue="outlet")
    heir = start_worker(settings, second.run, 1, "worker")
    first.signal(signal.SIGCONT)
    for worker in (first, heir):
        worker.await_end()
    with stores.session() as session:
        planned = summarise(session, alone.run).evaluations_planned
    assert 0 < made < 12
    assert int(first.ended) + int(heir.ended) == planned
    assert [undone(stores, night) for night in (alone, second)] == [0, 0]
    assert end_states(stores, alone.run) == end_states(stores, second.run)


def images_of(night: SmallNight) -> int:
    with night.stores.session() as session:
        return summarise(session, night.run).images


def test_what_a_dead_worker_of_another_catalogue_was_making_is_taken_over(
    twins: tuple[SmallNight, SmallNight],
) -> None:
    first, second = twins
    dying = start_worker(first.settings, first.run, 1, "worker")
    assert dying.await_calls(3)
    heir = start_worker(second.settings, second.run, 1, "worker")
    assert not heir.await_calls(1, seconds=4.0)  # it waits for what the other is making
    dying.process.kill()
    heir.await_end()
    assert int(heir.ended) >= 0
    assert undone(second.stores, second) == 0
    assert publish(second.stores, second.settings, second.run).complete
