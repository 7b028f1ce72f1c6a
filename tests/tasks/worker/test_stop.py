"""A worker that is asked to stop takes no further step, and no step is taken twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tasks.errors import WorkerStopped
from tasks.gc.collect import collect_garbage
from tasks.gc.retention import Retention
from tasks.ledger import parked_segments, summarise
from tasks.object_keys import checkpoint_key
from tasks.settings import Settings
from tasks.states import SubtreeState
from tasks.stores import open_stores
from tasks.worker.attempt import Progress
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import (
    SmallNight,
    end_states,
    plan_small_night,
    small,
    start_over,
    write_catalogue,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    torch.set_num_threads(1)
    short = small(settings, shards=1, previews=False)
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path))


def run_until(night: SmallNight, evaluations: int) -> Progress | None:
    """Run the shard, and ask it to stop after so many evaluations; return None where it did."""
    stop = threading.Event()

    def report(progress: Progress) -> None:
        if progress.evaluations >= evaluations:
            stop.set()

    stores, settings = night.stores, night.settings
    try:
        return denoise_shard(stores, settings, night.run, 1, "worker", report=report, stop=stop)
    except WorkerStopped:
        return None


def test_a_worker_that_is_stopped_again_and_again_ends_with_the_same_bits_at_the_same_cost(
    planned: SmallNight,
) -> None:
    denoise_shard(planned.stores, planned.settings, planned.run, 1, "worker")
    reference = end_states(planned.stores, planned.run)
    start_over(planned)
    stops = 0
    while run_until(planned, 7) is None:
        stops += 1
        with planned.stores.session() as session:
            line = summarise(session, planned.run).subtrees[1]
        assert (line.state, line.lease_owner) == (SubtreeState.WAITING, None)
    with planned.stores.session() as session:
        facts = summarise(session, planned.run)
    assert stops > 3
    assert facts.evaluations_done == facts.evaluations_planned
    assert end_states(planned.stores, planned.run) == reference


def test_what_is_parked_survives_a_collection_and_is_made_anew_where_it_is_damaged(
    planned: SmallNight,
) -> None:
    assert run_until(planned, 7) is None
    collect_garbage(planned.stores, Retention(1, settled=0.0))
    with planned.stores.session() as session:
        parked = parked_segments(session, planned.run, 1)
    keys = {checkpoint_key(each.sha256) for each in parked.values()}
    assert keys
    assert keys <= set(planned.stores.bucket.list())
    for key in keys:
        planned.stores.bucket.put(key, b"damaged")
    denoise_shard(planned.stores, planned.settings, planned.run, 1, "worker")
    with planned.stores.session() as session:
        facts = summarise(session, planned.run)
        assert not parked_segments(session, planned.run, 1)
    assert facts.images == facts.images_expected
    assert facts.evaluations_done > facts.evaluations_planned
