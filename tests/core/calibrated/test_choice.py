"""The choice by calibration alone: the least predicted misfit of what a budget is enough for."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff_core.calibrated.calibrated_solver import CalibratedSolver
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.choice import (
    Prediction,
    Way,
    affordable,
    predict_ways,
    rank,
    small_excess,
)
from hierdiff_core.errors import InvalidSetting

SIZE = 30
VECTORS = np.random.default_rng(0).normal(size=(SIZE, 6))
KEYS = [f"{each:02d}" for each in range(SIZE)]


def ways(
    misfits: dict[int, float], settled: float = 1.0, solver: str = "ddim"
) -> dict[Way, CalibratedSolver]:
    """Ways whose plain misfits are given and of which so much settles, evenly over the levels."""
    levels, shares = np.append(np.geomspace(20, 0.1, 8), 0), settled * np.linspace(0, 1, 9)
    maps = shares[:, None, None] * np.eye(6)
    calibration = Calibration(levels, np.eye(6), maps, shares, misfits, {})
    return {(solver, K): CalibratedSolver(calibration, np.geomspace(20, 0.05, K)) for K in misfits}


def best(found: dict[Way, CalibratedSolver], evaluations: float) -> Prediction:
    return rank(predict_ways(VECTORS, KEYS, found, evaluations))[0]


def test_the_least_predicted_misfit_wins() -> None:
    dear_to_share = ways({4: 10.0, 8: 9.9})
    assert (best(dear_to_share, 3).steps, best(dear_to_share, 3).saving) == (4, 0.25)
    assert best(ways({4: 10.0, 8: 9.9}, settled=1e-4), 3).steps == 8
    assert best(dear_to_share | ways({4: 5.0}, solver="ddpm"), 3).solver == "ddpm"


def test_a_budget_of_all_steps_is_the_plain_misfit() -> None:
    found = {each.steps: each for each in predict_ways(VECTORS, KEYS, ways({4: 10.0, 8: 9.0}), 4)}
    assert found[4] == Prediction("ddim", 4, 0.0, 4.0, pytest.approx(10.0))
    assert (found[8].saving, found[8].evaluations) == (0.5, 4.0)
    assert found[8].misfit > 9


def test_a_small_excess_counts_for_less_than_it_is_predicted_and_a_large_one_for_what_it_is() -> (
    None
):
    assert small_excess(10.0, 40.0) == 5.0  # a quarter of what plain pictures miss is halved
    assert small_excess(0.1, 40.0) == pytest.approx(0.001, rel=0.02)
    assert small_excess(1000.0, 40.0) == pytest.approx(1000.0, rel=0.02)
    assert small_excess(0.0, 0.0) == 0.0


def test_a_dearer_budget_misses_less() -> None:
    found = [best(ways({4: 10.0, 8: 9.0}), each).misfit for each in (1.5, 2, 2.5, 3, 3.5)]
    assert (np.diff(found) < 0).all()


def test_of_equals_the_one_of_fewer_steps_is_first() -> None:
    found = [Prediction("ddim", K, 0.5, 3.0, 7.0) for K in (8, 4, 6)]
    assert [each.steps for each in rank(found)] == [4, 6, 8]


def test_a_way_must_be_able_to_spend_the_budget_and_to_keep_within_it() -> None:
    some = [("ddim", 4), ("ddim", 8), ("ddpm", 40)]
    assert affordable(some, SIZE, 2) == [("ddim", 4), ("ddim", 8)]
    assert affordable(some, SIZE, 4) == some
    assert affordable(some, SIZE, 4.1) == [("ddim", 8), ("ddpm", 40)]
    assert affordable([("ddim", 4)], 1, 4) == [("ddim", 4)]


@pytest.mark.parametrize(
    ("evaluations", "said"),
    [
        (1.0, r"1\.1 evaluations"),
        (-1.0, r"1\.1 "),
        (41.0, "at most 40"),
        (float("nan"), "at most 40"),
    ],
)
def test_a_budget_that_no_way_can_meet_is_refused(evaluations: float, said: str) -> None:
    with pytest.raises(InvalidSetting, match=f"--evaluations.*{said}"):
        affordable([("ddim", 4), ("ddpm", 40)], SIZE, evaluations)
