"""Regions: parts of a set too large to be merged as one, which share no step with each other.

The price of dividing a set is that the clusters of the first steps are not joined across regions:
up to K - 1 evaluations per region, so that a tight budget allows few regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from hierdiff_core.calibrated.backward import Cuts
from hierdiff_core.calibrated.merging import Ids, Merging
from hierdiff_core.calibrated.points import StepPoints

_SHARE = 4  # regions have about a fourth of the rows that may merge as one, which saves time


def split(points: StepPoints, most: int, regions: int) -> list[Ids]:
    """Return the rows of each region, ascending; one region where there are no more than `most`.

    There are at most so many `regions`: k-means on the points of the middle step, whose clusters
    are neither single rows nor everything.
    """
    if points.size <= most or points.steps == 1:
        return [np.arange(points.size)]
    count = min(regions, -(-points.size * _SHARE // most))
    middle = points.at(max(1, points.steps // 2))
    means = MiniBatchKMeans(count, random_state=0, batch_size=4096, n_init=1, max_iter=20)
    labels = means.fit_predict(middle - middle.mean(axis=0))
    return [rows for each in range(count) if len(rows := np.flatnonzero(labels == each))]


def join(cuts: Sequence[Cuts]) -> Cuts:
    """Return the cuts of all regions as those of one set, whose rows are the regions' in order."""
    if len(cuts) == 1:
        return cuts[0]
    places = _ranges([each.size for each in cuts])
    merges, made = list[Merging](), list[int]()
    for step in range(cuts[0].steps - 1):
        parts = [each.merges[step] for each in cuts]
        kept = [each.made[step] for each in cuts]
        numbers = _number(parts, kept, places)
        merges.append(_join_step(parts, kept, numbers))
        made.append(sum(kept))
        left = merges[-1].left(len(merges[-1].children))
        places = [
            np.searchsorted(left, each[part.left(len(part.children))])
            for part, each in zip(parts, numbers, strict=True)
        ]
    size = sum(each.size for each in cuts)
    excess = sum(each.excess for each in cuts)
    return Cuts(size, cuts[0].price, tuple(merges), tuple(made), excess, cuts[0].prices)


def _number(parts: Sequence[Merging], made: Sequence[int], places: Sequence[Ids]) -> list[Ids]:
    """Return the joined number of each cluster of each region, clusters of this step's merges last.

    The merges that are made come before all others, as in the cuts of one set.
    """
    first = sum(map(len, places))
    kept = _ranges(made, first)
    others = [len(part.children) - count for part, count in zip(parts, made, strict=True)]
    rest = _ranges(others, first + sum(made))
    return [np.concatenate(each) for each in zip(places, kept, rest, strict=True)]


def _join_step(parts: Sequence[Merging], made: Sequence[int], numbers: Sequence[Ids]) -> Merging:
    children = [each[part.children] for part, each in zip(parts, numbers, strict=True)]
    increases = [part.increases for part in parts]
    return Merging(
        sum(part.size for part in parts),
        np.concatenate(_kept_first(children, made)),
        np.concatenate(_kept_first(increases, made)),
    )


def _kept_first(rows: Sequence[Any], made: Sequence[int]) -> list[Any]:
    kept = [each[:count] for each, count in zip(rows, made, strict=True)]
    return kept + [each[count:] for each, count in zip(rows, made, strict=True)]


def _ranges(sizes: Sequence[int], first: int = 0) -> list[Ids]:
    stops = first + np.cumsum(sizes)
    return [np.arange(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]
