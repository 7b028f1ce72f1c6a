"""Joining: what a prompt gains by sharing the steps of standing segments, by each planner's rule.

The rules are those by which a planner shares steps among tonight's prompts, with a mean that does
not move.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.metrics.pairwise import euclidean_distances

from hierdiff_core.calibrated.calibrated_solver import CalibratedSolver
from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.schedule import Schedule
from hierdiff_core.standing import (
    NO_SPLIT,
    Founders,
    Ids,
    StandingForest,
    Vectors,
    unit_vectors,
)

# Takes some of N prompts and of S segments; returns what each prompt gains by sharing the steps of
# each segment, (rows, segments), -inf where it may not.
Gains = Callable[[slice, Ids], npt.NDArray[np.floating]]

# Of prompts that may share as many steps, the nearer founders are preferred by less than a step.
_NEARNESS = 1e-3


def gains_by_thresholds(
    vectors: Vectors, forest: StandingForest, founders: Founders, schedule: Schedule, linkage: str
) -> Gains:
    """Return the rule of the paper's trees, for vectors (N, D).

    A prompt shares step k where the height at which it would merge with the founders is below
    phi(k); phi falls, so the last step of a segment decides.
    """
    rule, phi = LINKAGES[linkage], schedule.phi()
    if rule.normalises:
        vectors = unit_vectors(vectors)
    shared, place = _places(forest, schedule.steps)
    sums, own = founders.sums(shared, rule.normalises), np.einsum("nd,nd->n", vectors, vectors)
    squares = np.einsum("sd,sd->s", sums, sums)

    def gains(rows: slice, segments: Ids) -> npt.NDArray[np.floating]:
        here = place[segments]
        products = vectors[rows] @ sums[here].T
        one, sizes = np.ones(1), forest.sizes[segments].astype(np.float64)
        heights = rule.height(products, own[rows, None], squares[here], one, sizes)
        steps = forest.stops[segments] - forest.starts[segments]
        allowed = heights < phi[forest.stops[segments] - 1]  # never where a sum is not known
        return np.where(allowed, steps - _NEARNESS * heights / max(schedule.tau, 1e-300), -np.inf)

    return gains


def gains_by_price(
    vectors: Vectors,
    forest: StandingForest,
    founders: Founders,
    solver: CalibratedSolver,
    price: float,
) -> Gains:
    """Return the rule of calibrated plans, for vectors (N, D).

    A step gains the price of its evaluation and adds the excess of sharing it, the squared distance
    of the prompt's point from that of the founders' mean.
    """
    shared, place = _places(forest, len(solver.levels))
    sums = founders.sums(shared, False)
    unknown = np.isnan(sums[:, :1])[:, 0]
    sums[unknown] = 0
    means = sums / forest.sizes[shared, None].astype(sums.dtype)
    points, size = solver.points(np.concatenate([vectors, means])), len(vectors)

    def gains(rows: slice, segments: Ids) -> npt.NDArray[np.floating]:
        found = np.empty((rows.stop - rows.start, len(segments)), dtype=np.float32)
        for here in _by_span(forest, segments):
            start, stop = forest.starts[segments[here[0]]], forest.stops[segments[here[0]]]
            some = np.concatenate([np.arange(rows.start, rows.stop), size + place[segments[here]]])
            places, count = points.take(some).between(start, stop), len(found)
            spared = sum(points.price(k) for k in range(start + 1, stop + 1))
            apart = euclidean_distances(places[:count], places[count:], squared=True)
            found[:, here] = price * spared - apart
        found[:, unknown[place[segments]]] = -np.inf
        return found

    return gains


def _places(forest: StandingForest, steps: int) -> tuple[Ids, Ids]:
    """Return the segments whose steps may be shared, and of each segment its place among them."""
    shared = forest.before(steps)
    place = np.full(len(forest), NO_SPLIT)
    place[shared] = np.arange(len(shared))
    return shared, place


def _by_span(forest: StandingForest, segments: Ids) -> list[Ids]:
    """Return the places of segments that take the same steps, for each span of steps."""
    starts, stops = forest.starts[segments], forest.stops[segments]
    order = np.lexsort((stops, starts))
    changed = (np.diff(starts[order]) != 0) | (np.diff(stops[order]) != 0)
    return np.split(order, np.flatnonzero(changed) + 1) if len(order) else []
