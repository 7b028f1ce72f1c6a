"""A night of each family, from its rows to its report: a worker is killed, another one goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partialmethod
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from hierdiff_core.models import karlo
from hierdiff_core.models.picture_side import PictureSide
from tasks.ledger import StoredSegment, load_plan, stored_segments, summarise
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.states import RunState
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard
from tests.core.stable_diffusion_folder import save_stable_diffusion
from tests.core.tiny import tokenizers
from tests.core.tiny.model import LENGTH, redraw
from tests.core.tiny.pipelines import MODELS
from tests.tasks.night_kit import (
    SmallNight,
    end_states,
    plan_small_night,
    small,
    start_over,
)

pytestmark = pytest.mark.slow

FAMILIES = ("stable_diffusion", "stable_diffusion_xl", "flux", "flux2", "karlo")
ROWS = "reference,prompt\n1,a red mug\n2,a red hat\n3,two blue mugs\n4,two blue hats\n"
STEPS = 4


@pytest.fixture(params=FAMILIES)
def settings_of_family(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path
) -> Settings:
    """Settings of a night of one family's small model, all else but its size being its own."""
    folder, options = tmp_path / "model", {}
    torch.manual_seed(0)
    if request.param in MODELS:
        model = MODELS[request.param]
        redraw(model.make()).save_pretrained(folder)
        options = dict(model.options)
    else:
        save_stable_diffusion(folder, tokenizers.clip(LENGTH))
    fields = {"model": str(folder), "options": options, "solver": None, "steps": STEPS}
    return small(settings, **fields, height=32, width=32, shards=1, slots=1, previews=False)


def test_a_killed_night_goes_on_to_the_pictures_of_an_undisturbed_one(
    settings_of_family: Settings, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    with open_stores(settings_of_family) as stores:
        night = plan_small_night(stores, settings_of_family, file)
        with stores.session() as session:
            plan = load_plan(session, night.run).plan
        assert plan.evaluations < plan.evaluations_standard
        assert run_shards(night) == plan.evaluations
        reference = end_states(stores, night.run)
        start_over(night)
        assert killed_at_the_end(night, plan.evaluations) == -signal.SIGKILL
        stood = sum(plan.segments[each].steps for each in stood_segments(night))
        assert 0 < stood < plan.evaluations
        assert run_shards(night) == plan.evaluations - stood
        assert end_states(stores, night.run) == reference
        published = publish(stores, settings_of_family, night.run)
        assert (published.missing, published.data.state) == (0, RunState.COMPLETED)
        with stores.session() as session:
            assert summarise(session, night.run).images == 4


def run_shards(night: SmallNight) -> int:
    """Make what is missing of a night; return the evaluations that it took."""
    shards = range(night.settings.shards + 1)
    return sum(
        denoise_shard(night.stores, night.settings, night.run, shard, "me").evaluations
        for shard in shards
    )


def killed_at_the_end(night: SmallNight, evaluations: int) -> int:
    """Start a worker that is killed at the last of its evaluations; return its exit code.

    It is forked, as a warm worker's runs are, since imports would take most of its time.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        with open_stores(night.settings) as stores:
            die_at(replace(night, stores=stores), evaluations)
            run_shards(replace(night, stores=stores))
    finally:
        os._exit(1)  # whatever happened, this is not the process of the tests


def die_at(night: SmallNight, evaluation: int) -> None:
    """Arrange for SIGKILL at an evaluation, once the table has a segment that ended before it."""
    calls = count(1)

    def dying(self: Any, predict: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
        if next(calls) == evaluation:
            while not stood_segments(night):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return predict(self, *given)

    for kind in (PictureSide, karlo.PixelDecoder):
        kind.predict = partialmethod(dying, kind.predict)  # type: ignore[method-assign, assignment]


def stood_segments(night: SmallNight) -> Mapping[int, StoredSegment]:
    with night.stores.session() as session:
        return stored_segments(session, night.run)
