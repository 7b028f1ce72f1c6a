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

_ROUNDING = 1e-6  # of sums of prices


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
    shared = _merged(_merge_heights(trees), schedule).sum()
    return _leaves(trees) * schedule.steps - int(shared)


def solve_tau(
    trees: ClusterTree | Sequence[ClusterTree],
    steps: int,
    budget: Budget,
    prices: npt.NDArray[np.float64] | None = None,
) -> Schedule:
    """Return the schedule with the smallest tau that meets a budget over all the trees.

    A merge of height s saves one evaluation at step k once tau (1 - k/K) > s, so the cost falls at
    each of the values s / (1 - k/K): the tau of a budget is the smallest number above one of them.
    An evaluation of step k costs `prices[k - 1]`, (K,) of mean 1, or 1. Raises InvalidSetting for
    no trees, and where the budget cannot be met even when all prompts share all but the last step.
    """
    trees = [trees] if isinstance(trees, ClusterTree) else list(trees)
    if not trees:
        raise InvalidSetting(setting="trees", value=0, hint="a budget needs at least one tree")
    standard = _leaves(trees) * steps
    merges = _merge_heights(trees)
    prices = np.ones(steps) if prices is None else prices
    least = least_evaluations(trees, steps, prices)
    wanted = standard - budget.require(least, _leaves(trees), steps) - _ROUNDING
    if wanted <= 0:
        return make_schedule(steps, 0.0)
    remaining = 1 - np.arange(1, steps) / steps
    thresholds = (merges[:, None] / remaining).ravel()
    order = np.argsort(thresholds)
    saved = np.cumsum(np.tile(prices[:-1], len(merges))[order])
    tau = float(thresholds[order[np.searchsorted(saved, wanted)]])
    # s / r and tau * r round differently, so the next number up may still be one too small.
    while _merged(merges, make_schedule(steps, tau)) @ prices < wanted:
        tau = float(np.nextafter(tau, np.inf))
    return make_schedule(steps, tau)


def least_evaluations(
    trees: Sequence[ClusterTree], steps: int, prices: npt.NDArray[np.float64] | None = None
) -> int:
    """Return the price if all steps but the last are shared by all the leaves of each tree."""
    merges = _leaves(trees) - len(trees)
    shared = steps - 1 if prices is None else prices[:-1].sum()
    return math.ceil(_leaves(trees) * steps - merges * shared - _ROUNDING)


def _merged(heights: npt.NDArray[np.float64], schedule: Schedule) -> npt.NDArray[np.int64]:
    """Return the number of merges, of ascending heights, that are shared at each step (K,)."""
    return np.searchsorted(heights, schedule.phi(), side="left")


def _merge_heights(trees: Sequence[ClusterTree]) -> npt.NDArray[np.float64]:
    return np.sort(np.concatenate([tree.heights[tree.size :] for tree in trees]))


def _leaves(trees: Sequence[ClusterTree]) -> int:
    return sum(tree.size for tree in trees)
