"""The least excess of a budget by trying every chain of nested partitions, for a few prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hierdiff_core.calibrated.points import StepPoints, spread_within
from hierdiff_core.plan import Plan, Segment


def list_points(size: int, points: Sequence[np.ndarray]) -> StepPoints:
    """Return points that are at hand, (N, D_k) for k = 1..K-1."""
    return StepPoints(
        len(points) + 1,
        size,
        lambda start, stop, rows: np.concatenate(points[start:stop], axis=1)[rows],
    )


def unshared_plan(size: int, steps: int) -> Plan:
    """Return the plan in which every leaf takes all steps alone."""
    segments = tuple(Segment(leaf, leaf, 0, steps, None, leaf, leaf + 1) for leaf in range(size))
    return Plan(steps, tuple(range(size)), segments, "none")


def least_excesses(points: Sequence[np.ndarray]) -> dict[int, float]:
    """Return, for each number of evaluations, the least sum of squared distances within it."""
    size = len(points[0])
    every = [_labels(each, size) for each in _partitions(list(range(size)))]
    count = [len(set(each.tolist())) for each in every]
    costs = [[spread_within(step, each) for each in every] for step in points]
    coarser = [[j for j, b in enumerate(every) if _holds(b, a)] for a in every]
    chains = {(i, size + count[i]): cost for i, cost in enumerate(costs[-1])}
    for step in reversed(costs[:-1]):
        longer: dict[tuple[int, int], float] = {}
        for (i, evaluations), excess in chains.items():
            for j in coarser[i]:
                key = (j, evaluations + count[j])
                longer[key] = min(longer.get(key, np.inf), excess + step[j])
        chains = longer
    best: dict[int, float] = {}
    for (_, evaluations), excess in chains.items():
        best[evaluations] = min(best.get(evaluations, np.inf), excess)
    least = np.minimum.accumulate([best[each] for each in sorted(best)])
    return dict(zip(sorted(best), map(float, least), strict=True))


def _partitions(items: list[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    first, *rest = items
    for parts in _partitions(rest):
        yield [[first], *parts]
        for at, part in enumerate(parts):
            yield [*parts[:at], [first, *part], *parts[at + 1 :]]


def _labels(parts: list[list[int]], size: int) -> np.ndarray:
    labels = np.zeros(size, dtype=np.int64)
    for label, part in enumerate(parts):
        labels[part] = label
    return labels


def _holds(coarse: np.ndarray, fine: np.ndarray) -> bool:
    return all(len(set(coarse[fine == label].tolist())) == 1 for label in set(fine.tolist()))
