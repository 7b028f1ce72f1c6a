"""A calibrated model's nights are planned by its calibration, others by the paper's tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import (
    calibration_path,
    find_calibration,
    save_calibration,
)
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.miniature import DECODER, PRIOR_MODEL
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.shard import make_shards
from tasks.ledger import load_plan, summarise
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.core.recipes import change
from tests.tasks.night_kit import plan_small_night, small, write_catalogue


@pytest.fixture
def calibrated(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose model lies in a folder of its own, with a calibration beside it."""
    (tmp_path / "models").mkdir()
    decoder = tmp_path / "models" / "decoder"
    decoder.symlink_to(DECODER, target_is_directory=True)
    options = {"prior": PRIOR_MODEL, "prior_steps": 5}
    changed = small(settings, model=str(decoder), options=options)
    save_calibration(_calibration(), calibration_path(pin_recipe(changed.recipe)))
    return changed


@pytest.fixture
def stores(calibrated: Settings) -> Iterator[Stores]:
    with open_stores(calibrated) as opened:
        yield opened


def _calibration() -> Calibration:
    """Maps of no meaning, in the right shapes."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(128, 5)))[0]
    levels, shares = np.array([14.0, 4.0, 1.0, 0.0]), np.array([0.0, 0.1, 0.3, 0.8])
    settled = shares[:, None, None] * np.eye(5)
    return Calibration(levels, basis, settled, shares, {4: 40.0, 8: 30.0}, {})


def test_a_calibrated_model_is_planned_by_its_calibration(
    stores: Stores, calibrated: Settings, tmp_path: Path
) -> None:
    night = plan_small_night(stores, calibrated, write_catalogue(tmp_path))
    with stores.session() as session:
        plan, facts = load_plan(session, night.run).plan, summarise(session, night.run)
    assert (plan.planner, facts.planner) == ("calibrated", "calibrated")
    assert (plan.tau, plan.linkage) == (None, None)
    assert plan.price == facts.price > 0
    assert plan.evaluations == int(0.6 * 12 * 6)
    assert sum(map(len, make_shards(plan, 3))) == len(plan.segments)


def test_the_papers_tree_is_there_for_who_asks_for_it(
    stores: Stores, calibrated: Settings, tmp_path: Path
) -> None:
    asked = calibrated.model_copy(update={"planner": "paper"})
    night = plan_small_night(stores, asked, write_catalogue(tmp_path))
    with stores.session() as session:
        assert load_plan(session, night.run).plan.linkage == "average"


def test_without_a_budget_a_night_saves_what_the_bound_of_its_loss_allows(
    stores: Stores, calibrated: Settings, tmp_path: Path
) -> None:
    free = calibrated.model_copy(update={"saving": None})
    file, found = write_catalogue(tmp_path), []
    for loss in (0.0, 0.25, 1.0):
        night = plan_small_night(
            stores, free.model_copy(update={"loss": loss}), file, catalogue=f"bound {loss}"
        )
        with stores.session() as session:
            found.append(load_plan(session, night.run).plan)
    assert [each.planner for each in found] == 3 * ["calibrated"]
    savings = [each.saving for each in found]
    assert savings[0] == 0
    assert savings == sorted(set(savings))


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"prior_steps": 7}, True),  # changes embeddings, not what a step settles of them
        ({"seed": 3}, True),
        ({"guidance": 7.0}, False),
        ({"guidance_stop": 0.5}, False),
        ({"guidance_rescale": 0.7}, False),
        ({"height": 128}, False),
        ({"text_revision": "another prior"}, False),
    ],
)
def test_a_calibration_of_another_guidance_size_or_text_side_does_not_count(
    calibrated: Settings, changes: dict[str, Any], counts: bool
) -> None:
    recipe = pin_recipe(calibrated.recipe)
    assert (find_calibration(change(recipe, **changes)) is not None) == counts


def test_a_calibration_that_is_asked_for_must_be_there(
    stores: Stores, calibrated: Settings, tmp_path: Path
) -> None:
    other = calibrated.model_copy(update={"guidance": 7.0, "planner": "calibrated"})
    with pytest.raises(InvalidSetting, match="hierdiff calibrate"):
        plan_small_night(stores, other, write_catalogue(tmp_path))
