"""Which split a prompt goes on from: the best by the planner's own rule, tried against all."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff_core.calibrated.calibrated_solver import CalibratedSolver
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.joining import gains_by_price, gains_by_thresholds
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.schedule import make_schedule
from hierdiff_core.standing import (
    Founder,
    KnownFounders,
    StandingForest,
    StandingSegment,
    best_splits,
    make_standing,
)

STEPS, SIZE, DIMS = 10, 30, 8


def points(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(6, DIMS)) + 1
    return centres[rng.integers(0, 6, size)] + 0.4 * rng.normal(size=(size, DIMS))


def stand(vectors: np.ndarray, plan: Plan) -> StandingForest:
    return make_standing(
        StandingSegment(
            f"{segment.id:04d}",
            None if segment.parent is None else f"{segment.parent:04d}",
            segment.start,
            segment.stop,
            tuple(Founder(f"{leaf:04d}", "") for leaf in plan.founders(segment)),
            True,
        )
        for segment in plan.segments
    )


def in_order(forest: StandingForest, vectors: np.ndarray) -> np.ndarray:
    return vectors[[int(prompt.content_key) for prompt in forest.prompts]]


@pytest.mark.parametrize("linkage", LINKAGES)
def test_by_the_papers_rule_a_prompt_merges_below_every_threshold_on_its_way(linkage: str) -> None:
    vectors, new = points(SIZE, 0), points(20, 1)
    tree = build_tree(vectors, linkage)
    schedule = make_schedule(STEPS, 2.5 * float(np.median(tree.heights[SIZE:])))
    forest = stand(vectors, make_plan(tree, schedule))
    founders, phi = in_order(forest, vectors), schedule.phi()
    known = KnownFounders(forest, founders)
    found = best_splits(
        forest, STEPS, 20, gains_by_thresholds(new, forest, known, schedule, linkage)
    )
    joined = 0
    for row, split in zip(new, found, strict=True):
        depths = {-1: 0}
        for segment in forest.splits(STEPS).tolist():
            path = forest.path(segment)
            heights = [
                merging_height(row, founders[list(forest.founders[s])], linkage) for s in path
            ]
            limits = [phi[forest.stops[s] - 1] for s in path]
            if all(height < limit for height, limit in zip(heights, limits, strict=True)):
                depths[segment] = int(forest.stops[segment])
        assert depths[int(split)] == max(depths.values())
        joined += split >= 0
    assert joined > 5


def merging_height(row: np.ndarray, members: np.ndarray, linkage: str) -> float:
    """Return the height by the definition of each linkage, over pairs of rows."""
    if linkage == "centroid":
        mean = members.mean(axis=0)
        return float(1 - row @ mean / np.linalg.norm(row) / np.linalg.norm(mean))
    units = members / np.linalg.norm(members, axis=1, keepdims=True)
    apart = 1 - units @ (row / np.linalg.norm(row))
    if linkage == "average":
        return float(apart.mean())
    # Ward's, from the mean distance between two clusters and within one.
    pairs = 1 - units @ units.T
    size = len(units)
    within = pairs.sum() / max(1, size * (size - 1))
    inside = (size - 1) / size * within**2
    return float(np.sqrt(max(0.0, (2 * apart.mean() ** 2 - inside) * size / (size + 1))))


@pytest.mark.parametrize("price", [0.02, 0.3, 2.0])
def test_by_a_price_a_prompt_gains_most_of_all_splits(price: float) -> None:
    vectors, new, solver = points(SIZE, 0), points(20, 1), calibrated()
    tree = build_tree(vectors, "average")
    forest = stand(vectors, make_plan(tree, make_schedule(STEPS, 0.4)))
    founders = in_order(forest, vectors)
    known = KnownFounders(forest, founders)
    found = best_splits(forest, STEPS, 20, gains_by_price(new, forest, known, solver, price))
    for row, split in zip(new, found, strict=True):
        gains = {-1: 0.0}
        for segment in forest.splits(STEPS).tolist():
            gains[segment] = sum(
                price - excess(solver, row, founders[list(forest.founders[s])], k)
                for s in forest.path(segment)
                for k in range(forest.starts[s] + 1, forest.stops[s] + 1)
            )
        assert gains[int(split)] == pytest.approx(max(gains.values()), abs=1e-5)


def calibrated() -> CalibratedSolver:
    levels, shares = np.append(np.geomspace(20, 0.1, 8), 0), np.linspace(0, 1, 9) ** 2
    scales = np.diag(np.linspace(0.2, 1, DIMS))
    maps = shares[:, None, None] * scales
    calibration = Calibration(levels, np.eye(DIMS), maps, shares, {STEPS: 1.0}, {})
    return CalibratedSolver(calibration, np.geomspace(20, 0.05, STEPS))


def excess(solver: CalibratedSolver, row: np.ndarray, members: np.ndarray, k: int) -> float:
    """Return what sharing step k adds, each step by itself."""
    one, other = solver.points(np.stack([row, members.mean(axis=0)])).at(k)
    return float(((one - other) ** 2).sum())


def test_without_anything_that_stands_nothing_is_joined() -> None:
    empty = make_standing([])
    assert best_splits(empty, STEPS, 3, lambda rows, segments: np.ones((3, 0))).tolist() == [-1] * 3
    assert empty.pictures(STEPS) == {}


def test_a_split_that_gains_nothing_is_not_joined() -> None:
    forest = stand(points(SIZE, 0), make_plan(build_tree(points(SIZE, 0)), make_schedule(STEPS, 9)))
    nothing = best_splits(forest, STEPS, 2, lambda rows, ids: np.zeros((2, len(ids))))
    assert nothing.tolist() == [-1, -1]


@pytest.mark.parametrize("rule", ["thresholds", "price"])
def test_nothing_goes_on_from_what_is_below_a_segment_whose_founders_are_lost(rule: str) -> None:
    vectors, solver = points(SIZE, 0), calibrated()
    schedule = make_schedule(STEPS, 0.9)
    forest = stand(vectors, make_plan(build_tree(vectors, "average"), schedule))
    founders = in_order(forest, vectors)
    roots = [each for each in forest.levels[0].tolist() if forest.stops[each] < STEPS]
    lost = forest.founders[roots[0]]

    def joined(known: np.ndarray) -> set[int]:
        rows, those = founders.astype(np.float64), KnownFounders(forest, known)
        gains = (
            gains_by_thresholds(rows, forest, those, schedule, "average")
            if rule == "thresholds"
            else gains_by_price(rows, forest, those, solver, 2.0)
        )
        splits = best_splits(forest, STEPS, len(rows), gains).tolist()
        return {forest.path(split)[0] for split in splits if split >= 0}

    assert roots[0] in joined(founders)
    without = founders.copy()
    without[list(lost)] = np.nan
    assert joined(without) == joined(founders) - {roots[0]}
