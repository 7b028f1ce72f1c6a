"""The frontier: what quality costs, and what sharing saves at equal quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean, resample
from hierdiff_core.evaluation.setting import Setting

Array = NDArray[np.float64]
DETAIL = 0.05  # relative difference below which distances count as equal
NEVER = -np.inf  # the saving of a ladder that never reaches the wanted score


@dataclass(frozen=True)
class Measured:
    """A setting's cost and its scores, one for each prompt of the sample."""

    setting: Setting
    per_image: float  # evaluations
    scores: Array  # (P,)

    @property
    def mean(self) -> float:
        """The mean score over the prompts."""
        return float(self.scores.mean())


def envelope(costs: Array, scores: Array) -> tuple[Array, Array]:
    """Return cost and score of the points that raise the best score so far, by rising cost."""
    order = np.lexsort((-scores, costs))
    best = np.maximum.accumulate(scores[order])
    rises = np.r_[True, best[1:] > best[:-1]]
    return costs[order][rises], best[rises]


def cost_at(costs: Array, scores: Array, wanted: float) -> float:
    """Return the evaluations at which the envelope, interpolated linearly, reaches a score.

    Infinite where it never does.
    """
    cost, best = envelope(costs, scores)
    at = int(np.searchsorted(best, wanted, side="left"))
    if at == len(best):
        return float("inf")
    if at == 0:
        return float(cost[0])
    share = (wanted - best[at - 1]) / (best[at] - best[at - 1])
    return float(cost[at - 1] + share * (cost[at] - cost[at - 1]))


def saving_at_equal_score(ladder: Sequence[Measured], reference: Measured) -> Estimate:
    """Return 1 - (evaluations at which a ladder reaches the reference's score) / reference's.

    The reference itself counts as the ladder's dearest setting (nothing is shared at tau = 0), so
    the saving is never below 0.
    """
    measured = [*ladder, reference]
    costs = np.array([each.per_image for each in measured])
    scores = np.stack([each.scores for each in measured])
    return resample(
        scores, lambda means: 1 - cost_at(costs, means, means[-1]) / reference.per_image
    )


def best_standard(standards: Sequence[Measured]) -> Measured:
    """Return the cheapest standard setting that is not significantly worse than the best one.

    Best is the highest mean score. A setting is significantly worse where the 95 % interval of
    their paired difference lies above 0.
    """
    best = max(standards, key=lambda each: each.mean)
    able = [each for each in standards if estimate_mean(best.scores - each.scores).low <= 0]
    return min(able, key=lambda each: (each.per_image, -each.mean))


def saving_over_best(shared: Sequence[Measured], standards: Sequence[Measured]) -> Estimate:
    """Return the saving of sharing over the best standard setting at that setting's score.

    Negative where sharing needs more evaluations, NEVER where no shared setting reaches the score.
    The standard setting is chosen once: were it chosen anew for each draw of prompts, some draws
    would compare with a far dearer one, and the interval would flatter sharing.
    """
    rival = best_standard(standards)
    costs = np.array([each.per_image for each in shared])
    scores = np.stack([each.scores for each in (*shared, rival)])
    return resample(
        scores, lambda means: 1 - cost_at(costs, means[:-1], means[-1]) / rival.per_image
    )


def largest_within(ladder: Sequence[Measured], reference: Measured) -> Measured | None:
    """Return the cheapest setting of a ladder not significantly below the reference.

    That is: the 95 % interval of their paired difference of scores reaches 0.
    """
    able = [each for each in ladder if estimate_mean(each.scores - reference.scores).high >= 0]
    return min(able, key=lambda each: each.per_image, default=None)


def saving_at_equal_detail(
    shared: Sequence[tuple[float, float]], standards: Sequence[tuple[float, float]]
) -> float | None:
    """Return the saving of sharing at the detail of the cheapest standard setting with full detail.

    Points are (evaluations, distance); full detail is a distance within DETAIL of the smallest.
    NEVER where no sharing reaches the detail, None without figures.
    """
    if not shared or not standards:
        return None
    least = min(distance for _, distance in standards)
    rival = min(point for point in standards if point[1] <= (1 + DETAIL) * least)
    costs, distances = (np.array(each) for each in zip(*shared, strict=True))
    return float(1 - cost_at(costs, -distances, -rival[1]) / rival[0])
