"""The choice by calibration alone: which solver and steps are predicted to spend a budget best.

No picture is made and no judge is asked: solvers and steps are compared by their predicted misfit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hierdiff_core.budget import Budget
from hierdiff_core.calibrated.calibrated_solver import CalibratedSolver
from hierdiff_core.calibrated.plans import plan_points, predicted_excess
from hierdiff_core.clustering.tree import EXACT
from hierdiff_core.errors import InvalidSetting

Way = tuple[str, int]  # a solver and its K

# Predicted excess that comes to half of itself, as a share of what plain pictures miss. Found on
# four sets of judged plans; fitted without one of them it is .15 to .25 (benchmarks/choice.py).
_HALVED = 0.25


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted result of spending a budget with one solver and K."""

    solver: str
    steps: int  # K
    saving: float  # share of the plain steps to save; 0: nothing is shared
    evaluations: float  # of the plan, per image
    # Predicted, per image: |embedding of the picture - conditioning|^2, by `small_excess`.
    misfit: float


def affordable(ways: Sequence[Way], size: int, evaluations: float) -> list[Way]:
    """Return the ways by which N images can spend this mean of evaluations per image.

    No image takes more than K, and N of them together take at least N + K - 1: all steps but the
    last shared by all. Raises InvalidSetting where there is no such way.
    """
    enough = [each for each in ways if each[1] >= evaluations]
    able = [each for each in enough if size + each[1] - 1 <= evaluations * size + 1e-6]
    if able:
        return able
    if enough:
        fewest = min(steps for _, steps in enough)
        least = math.ceil((size + fewest - 1) / size * 1e3) / 1e3
        hint = f"{size:,} different prompts need at least {least:g} evaluations per image"
    else:
        hint = f"use at most {max(steps for _, steps in ways)}, the most steps that are tried"
    raise InvalidSetting(setting="--evaluations", value=evaluations, hint=hint)


def predict_ways(
    vectors: npt.NDArray[np.floating],
    keys: Sequence[str],
    ways: Mapping[Way, CalibratedSolver],
    evaluations: float,
    exact: int = EXACT,
) -> Iterator[Prediction]:
    """Yield the prediction of each way at this mean of evaluations per image, in the order given.

    Vectors (N, D) are the conditionings of all prompts, keys break ties between prompts. Each way's
    plan is that of least excess (`plan_points`). Raises InvalidSetting for a budget that a way
    cannot meet.
    """
    for (solver, steps), calibrated in ways.items():
        K = len(calibrated.levels)
        allowed = Budget(steps_per_image=evaluations).evaluations(len(keys), K)
        points = calibrated.points(vectors)
        plan = plan_points([points], allowed, [keys], exact)[0].plan
        plain = calibrated.calibration.misfit(K)
        misfit = plain + small_excess(predicted_excess(plan, points), plain)
        yield Prediction(solver, steps, 1 - evaluations / K, plan.evaluations / plan.size, misfit)


def small_excess(excess: float, plain: float) -> float:
    """Return what the predicted excess of a plan comes to, beside what plain pictures miss.

    e^2 / (e + h): calibration measures prompts that are far apart, and what sharing adds grows
    faster than the square of small distances; a large excess is what it is predicted to be.
    """
    return excess * excess / (excess + _HALVED * plain) if excess else 0.0


def rank(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Return predictions by misfit, the least first; of equal ones the one with fewer steps."""
    return sorted(predictions, key=lambda each: (each.misfit, each.steps))
