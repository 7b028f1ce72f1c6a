"""A sample of a night is also made without sharing, compared, shown, and never published."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.compare import compare_pairs
from tasks.handover.pictures import gather
from tasks.ledger import forget_pairs, load_images, load_pairs, load_plan, summarise
from tasks.object_keys import manifest_key, picture_key, plain_key, report_key
from tasks.report.gather import measured_of
from tasks.report.publish import publish
from tasks.review.night import read_night
from tasks.review.table import export_verdicts
from tasks.settings import Settings
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import NIGHT, SmallNight, plan_small_night, small, write_catalogue
from tests.tasks.worker.shard_process import run_process


@pytest.fixture
def sampled(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    """A planned night of twelve pictures, a third of which are also made without sharing."""
    torch.set_num_threads(1)
    short = small(settings, sample=0.25, steps=3, shards=2, planner="calibrated", solver="ddim")
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path))


def run_shards(night: SmallNight, settings: Settings | None = None) -> None:
    for shard in range(3):
        denoise_shard(night.stores, settings or night.settings, night.run, shard, "worker")


def test_a_night_says_what_sharing_cost_its_sample(sampled: SmallNight, tmp_path: Path) -> None:
    stores, run = sampled.stores, sampled.run
    run_shards(sampled)
    with stores.session() as session:
        made, images = load_pairs(session, run), load_images(session, run)
        facts, plan = summarise(session, run), load_plan(session, run)
    assert len(made) == 3
    assert all(each.evaluations == 3 and each.compared_by is None for each in made.values())
    # Beside the night's own, and counted apart.
    assert facts.evaluations_done == facts.evaluations_planned
    keys = {picture_key(each.sha256) for each in images.values()}
    assert keys.isdisjoint(plain_key(each.plain) for each in made.values())
    compare_pairs(stores, sampled.settings, run)
    publish(stores, sampled.settings, run)
    with stores.session() as session:
        pairs = load_pairs(session, run)
    assert all(each.distance is not None and each.distance > 0 for each in pairs.values())
    assert all(each.loss is not None for each in pairs.values())
    measured = measured_of(plan, pairs.values())
    assert measured is not None
    assert (measured.pairs, measured.evaluations) == (3, 9)
    assert measured.loss == pytest.approx(np.mean([each.loss for each in pairs.values()]))
    assert measured.low < measured.loss < measured.high  # type: ignore[operator]
    report = stores.bucket.get(report_key(run)).decode()
    assert "Did sharing hurt?" in report
    assert report.count("without sharing</small>") == 3
    manifest = json.loads(stores.bucket.get(manifest_key(run)))
    assert manifest["measured"]["pairs"] == 3
    pictures = gather(stores, sampled.settings, run)
    handed = {file.sha256 for each in pictures for file in each.files}
    assert handed.isdisjoint(each.plain for each in pairs.values())
    night = read_night(stores, run)
    assert night.plain == {each.plain for each in pairs.values()}
    table = io.StringIO()
    export_verdicts(stores, run, table)
    rows = [line.split(",") for line in table.getvalue().splitlines()]
    assert rows[0][-2:] == ["measured_loss", "distance"]
    assert sum(row[-1] != "" for row in rows[1:]) == 3


def test_the_next_night_keeps_pairs_with_the_pictures_and_measures_new_ones_alone(
    sampled: SmallNight, tmp_path: Path
) -> None:
    stores, settings = sampled.stores, sampled.settings
    run_shards(sampled)
    compare_pairs(stores, settings, sampled.run)
    publish(stores, settings, sampled.run)
    file = tmp_path / "catalogue.csv"
    next_night = plan_small_night(stores, settings, file, NIGHT + timedelta(days=1))
    run_shards(next_night)
    compare_pairs(stores, settings, next_night.run)
    with stores.session() as session:
        before, now = load_pairs(session, sampled.run), load_pairs(session, next_night.run)
        plan = load_plan(session, next_night.run)
    assert {each.plain for each in now.values()} == {each.plain for each in before.values()}
    assert {each.loss for each in now.values()} == {each.loss for each in before.values()}
    assert not any(each.evaluations for each in now.values())
    assert measured_of(plan, now.values()) is None  # nothing was made tonight


def test_what_is_missing_of_a_sample_is_made_by_the_next_attempt_alone(
    sampled: SmallNight,
) -> None:
    stores, run = sampled.stores, sampled.run
    run_shards(sampled)
    with stores.session() as session:
        first = load_pairs(session, run)
    lost = next(iter(first.values()))
    stores.bucket.delete(plain_key(lost.plain))
    compare_pairs(stores, sampled.settings, run)  # finds it gone
    with stores.session() as session:
        assert load_pairs(session, run).keys() == first.keys() - {lost.leaf}
    run_shards(sampled)
    with stores.session() as session:
        assert {leaf: each.plain for leaf, each in load_pairs(session, run).items()} == {
            leaf: each.plain for leaf, each in first.items()
        }


@pytest.mark.slow
def test_a_worker_killed_amid_the_sample_leaves_what_it_stored_and_the_rest_has_the_same_bits(
    sampled: SmallNight,
) -> None:
    """The night's own pictures are there; nothing but its sample is left to be made."""
    stores, run = sampled.stores, sampled.run
    run_shards(sampled, sampled.settings.model_copy(update={"sample": 0.0}))
    larger = SmallNight(stores, sampled.settings.model_copy(update={"sample": 1.0}), run)
    run_shards(larger)
    whole = plain_pictures(larger)
    assert len(whole) > 6
    for point, number in (("round", 5), ("object", 6), ("stored", 2)):
        with stores.session() as session:
            forget_pairs(session, run, list(whole))
        ends = {run_process(larger, shard, point, number) for shard in (1, 2)}
        assert -signal.SIGKILL in ends <= {0, -signal.SIGKILL}
        kept = plain_pictures(larger)
        assert kept.items() < whole.items()
        run_shards(larger)
        assert plain_pictures(larger) == whole
    with stores.session() as session:
        facts = summarise(session, run)
    assert facts.evaluations_done == facts.evaluations_planned


def plain_pictures(night: SmallNight) -> dict[int, str]:
    with night.stores.session() as session:
        return {leaf: each.plain for leaf, each in load_pairs(session, night.run).items()}


def test_a_sample_that_cannot_be_compared_fails_no_night(
    sampled: SmallNight, caplog: pytest.LogCaptureFixture
) -> None:
    run_shards(sampled)
    wrong = sampled.settings.model_copy(update={"sample_encoder": "clip:/nowhere"})
    compare_pairs(sampled.stores, wrong, sampled.run)
    assert "The sample is not compared" in caplog.text
    assert publish(sampled.stores, wrong, sampled.run).complete
