"""The schedule: how alike prompts must be at each step to share it, and the tau of a budget.

Knows thresholds and costs of cutting a tree; knows nothing of segments or models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.tree import ClusterTree
from hierdiff_core.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class Schedule:
    """K steps and the scale tau of their thresholds; a tau belongs to one linkage."""

    steps: int  # K
    tau: float

    def phi(self) -> npt.NDArray[np.float64]:
        """Return the thresholds phi(k) = tau (1 - k/K) for k = 1..K (Eq. 7), shape (K,)."""
        k = np.arange(1, self.steps + 1)
        return self.tau * (1 - k / self.steps)


def make_schedule(steps: int = 40, tau: float = 1.0) -> Schedule:
    """Return the schedule; raises InvalidSetting unless steps >= 1 and 0 <= tau < infinity."""
    if steps < 1:
        raise InvalidSetting(setting="steps", value=steps, hint="use a whole number above 0")
    if not 0 <= tau < math.inf:
        raise InvalidSetting(setting="tau", value=tau, hint="use a number from 0")
    return Schedule(steps, tau)


def evaluations(trees: Sequence[ClusterTree], schedule: Schedule) -> int:
    """Return the cost: sum over k of the active nodes, N - |{merges with score < phi(k)}|."""
    scores = _merge_scores(trees)
    shared = np.searchsorted(scores, schedule.phi(), side="left").sum()
    return _leaves(trees) * schedule.steps - int(shared)


def solve_tau(
    trees: ClusterTree | Sequence[ClusterTree],
    steps: int,
    *,
    saving: float | None = None,
    steps_per_image: float | None = None,
) -> Schedule:
    """Return the schedule with the smallest tau that saves what is asked, over all the trees.

    Ask for a saving (share of evaluations, 0 to 1) or for mean steps per image. A merge of score
    s spares one evaluation at step k once tau (1 - k/K) > s, so the cost falls by one at each of
    the values s / (1 - k/K): the tau of a budget is the smallest number above one of them.
    Raises InvalidSetting for no trees, and where the budget cannot be met even when all prompts
    share all but the last step.
    """
    trees = [trees] if isinstance(trees, ClusterTree) else list(trees)
    if not trees:
        raise InvalidSetting(setting="trees", value=0, hint="a budget needs one tree or more")
    standard = _leaves(trees) * steps
    wanted = math.ceil(_wanted_saving(steps, saving, steps_per_image) * standard - 1e-9)
    if wanted <= 0:
        return make_schedule(steps, 0.0)
    remaining = 1 - np.arange(1, steps) / steps
    thresholds = (_merge_scores(trees)[:, None] / remaining).ravel()
    if wanted > len(thresholds):
        _refuse(saving, steps_per_image, most=len(thresholds) / standard, steps=steps)
    tau = float(np.partition(thresholds, wanted - 1)[wanted - 1])
    # s / r and tau * r round differently, so the next number up may still be one too small.
    while standard - evaluations(trees, make_schedule(steps, tau)) < wanted:
        tau = float(np.nextafter(tau, np.inf))
    return make_schedule(steps, tau)


def _wanted_saving(steps: int, saving: float | None, steps_per_image: float | None) -> float:
    if (saving is None) == (steps_per_image is None):
        raise InvalidSetting(
            setting="saving", value=saving, hint="ask for either a saving or steps per image"
        )
    if saving is not None:
        if not 0 <= saving < 1:
            raise InvalidSetting(setting="saving", value=saving, hint="use 0 to below 1")
        return saving
    mean_steps = steps_per_image or 0.0
    if not 0 < mean_steps <= steps:
        raise InvalidSetting(
            setting="steps_per_image", value=steps_per_image, hint=f"use above 0 to {steps}"
        )
    return 1 - mean_steps / steps


def _refuse(
    saving: float | None, steps_per_image: float | None, *, most: float, steps: int
) -> None:
    if saving is not None:
        hint = f"this batch can save {math.floor(most * 1e4 + 1e-9) / 1e4} at the most"
        raise InvalidSetting(setting="saving", value=saving, hint=hint)
    least = math.ceil((1 - most) * steps * 1e3 - 1e-9) / 1e3
    hint = f"this batch needs {least} at the least"
    raise InvalidSetting(setting="steps_per_image", value=steps_per_image, hint=hint)


def _merge_scores(trees: Sequence[ClusterTree]) -> npt.NDArray[np.float64]:
    return np.sort(np.concatenate([tree.scores[tree.size :] for tree in trees]))


def _leaves(trees: Sequence[ClusterTree]) -> int:
    return sum(tree.size for tree in trees)
