"""The schedule: how alike prompts must be at each step to share it, and the tau of a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hierdiff_core.budget import Budget
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
        raise InvalidSetting(setting="tau", value=tau, hint="use a finite number, 0 or more")
    return Schedule(steps, tau)


def evaluations(trees: Sequence[ClusterTree], schedule: Schedule) -> int:
    """Return the cost: sum over k of the active nodes, N - |{merges with height < phi(k)}|."""
    heights = _merge_heights(trees)
    shared = np.searchsorted(heights, schedule.phi(), side="left").sum()
    return _leaves(trees) * schedule.steps - int(shared)


def solve_tau(
    trees: ClusterTree | Sequence[ClusterTree],
    steps: int,
    budget: Budget,
) -> Schedule:
    """Return the schedule with the smallest tau that meets a budget over all the trees.

    A merge of height s saves one evaluation at step k once tau (1 - k/K) > s, so the cost falls by
    one at each of the values s / (1 - k/K): the tau of a budget is the smallest number above one
    of them. Raises InvalidSetting for no trees, and where the budget cannot be met even when all
    prompts share all but the last step.
    """
    trees = [trees] if isinstance(trees, ClusterTree) else list(trees)
    if not trees:
        raise InvalidSetting(setting="trees", value=0, hint="a budget needs at least one tree")
    standard = _leaves(trees) * steps
    merges = _merge_heights(trees)
    least = standard - len(merges) * (steps - 1)
    wanted = standard - budget.require(least, _leaves(trees), steps)
    if wanted <= 0:
        return make_schedule(steps, 0.0)
    remaining = 1 - np.arange(1, steps) / steps
    thresholds = (merges[:, None] / remaining).ravel()
    tau = float(np.partition(thresholds, wanted - 1)[wanted - 1])
    # s / r and tau * r round differently, so the next number up may still be one too small.
    while standard - evaluations(trees, make_schedule(steps, tau)) < wanted:
        tau = float(np.nextafter(tau, np.inf))
    return make_schedule(steps, tau)


def _merge_heights(trees: Sequence[ClusterTree]) -> npt.NDArray[np.float64]:
    return np.sort(np.concatenate([tree.heights[tree.size :] for tree in trees]))


def _leaves(trees: Sequence[ClusterTree]) -> int:
    return sum(tree.size for tree in trees)
