"""The plan of least excess: which clusters share which steps, by what each step settles.

A plan's predicted excess is, summed over steps and clusters, the squared distance of the members'
points from their mean; per image, in the squared units of the points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hierdiff_core.calibrated.backward import Cuts, bound, merge_backwards, spend
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.merging import (
    Ids,
    Merging,
    Weights,
    chain_merging,
    merge_by_weighted_ward,
)
from hierdiff_core.calibrated.points import StepPoints, cluster_means
from hierdiff_core.calibrated.regions import join, split
from hierdiff_core.clustering.tree import EXACT, ClusterTree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.noise_levels import Levels
from hierdiff_core.plan import CALIBRATED, Plan, PlannedTree, cut_tree


def least_evaluations(sets: Sequence[StepPoints]) -> int:
    """Return the price if all steps but the last are shared: N + K - 1 evaluations of each set."""
    return math.ceil(sum(map(_least, sets)) - 1e-6)


def plan_points(
    sets: Sequence[StepPoints],
    evaluations: int,
    keys: Sequence[Sequence[str]],
    exact: int = EXACT,
) -> tuple[PlannedTree, ...]:
    """Return each set's plan, all at one price and together within the evaluations.

    Rows are taken in the order of their keys, which breaks ties. A set of more than `exact` rows
    is planned in regions that share no step with each other (`regions`). Raises InvalidSetting
    where they are fewer than `least_evaluations`.
    """
    if evaluations < (least := least_evaluations(sets)):
        hint = f"this batch needs at least {least}"
        raise InvalidSetting(setting="evaluations", value=evaluations, hint=hint)
    return _plan(sets, evaluations, keys, exact, lambda parts: spend(parts, evaluations))


def plan_within(
    sets: Sequence[StepPoints], excess: float, keys: Sequence[Sequence[str]], exact: int = EXACT
) -> tuple[PlannedTree, ...]:
    """Return each set's plan, all at the highest price whose predicted excess is at most this.

    The excess is the sum over all images; see `plan_points` for the rest.
    """
    evaluations = sum(each.size * each.steps for each in sets)
    return _plan(sets, evaluations, keys, exact, lambda parts: bound(parts, excess))


def plan_at_price(
    points: StepPoints, price: float, keys: Sequence[str], exact: int = EXACT
) -> PlannedTree:
    """Return a set's plan at a price, whatever it takes then; see `plan_points`."""

    def cut(parts: Sequence[StepPoints]) -> list[Cuts]:
        return [merge_backwards(part, price) for part in parts]

    return _plan([points], points.size * points.steps, [keys], exact, cut)[0]


def _plan(
    sets: Sequence[StepPoints],
    evaluations: int,
    keys: Sequence[Sequence[str]],
    exact: int,
    cut: Callable[[Sequence[StepPoints]], Sequence[Cuts]],
) -> tuple[PlannedTree, ...]:
    orders = [np.array(sorted(range(len(each)), key=each.__getitem__)) for each in keys]
    ordered = [each.arrange(order) for each, order in zip(sets, orders, strict=True)]
    regions = _divide(ordered, evaluations, exact)
    parts = [each.take(rows) for each, own in zip(ordered, regions, strict=True) for rows in own]
    cuts = iter(cut(parts))
    grown = []
    for points, order, own in zip(ordered, orders, regions, strict=True):
        rows = np.concatenate(own)
        grown.append(_grow(points.take(rows), join([next(cuts) for _ in own]), order[rows]))
    return tuple(grown)


def _least(points: StepPoints) -> float:
    return _shared(points) + points.size * points.price(points.steps)


def _shared(points: StepPoints) -> float:
    """Return the price of all steps but the last for one cluster."""
    return sum(points.price(k) for k in range(1, points.steps))


def _divide(sets: Sequence[StepPoints], evaluations: int, exact: int) -> list[list[Ids]]:
    """Return the regions of each set, no more of them in all than the evaluations allow."""
    divided = list[list[Ids]]()
    spare = evaluations - sum(map(_least, sets))
    for points in sets:
        more = _shared(points)
        most = 1 + int(max(0.0, spare) / more) if more else 1
        divided.append(split(points, exact, most))
        spare -= (len(divided[-1]) - 1) * more
    return divided


def predicted_misfit(
    plan: Plan, vectors: npt.NDArray[np.floating], calibration: Calibration, levels: Levels
) -> float:
    """Return the predicted mean misfit of the pictures of any plan.

    Misfit is the squared distance of a picture's embedding from its conditioning: that of K plain
    steps, plus the excess of sharing. Vectors (N, D) are those of the plan's leaves, levels (K,)
    its solver's.
    """
    excess = predicted_excess(plan, calibration.points(vectors, levels))
    return calibration.misfit(plan.steps) + excess


def predicted_excess(plan: Plan, points: StepPoints) -> float:
    """Return the predicted excess per image of any plan of these prompts and steps."""
    return float(leaf_excess(plan, points).mean())


def leaf_excess(plan: Plan, points: StepPoints) -> Weights:
    """Return the predicted excess of each picture of any plan, (N,).

    It is the squared distance of a leaf's point from the mean of those that steer it, summed over
    the steps. The points are those of the leaves, then of founders that want no picture.
    """
    found, order = np.zeros(plan.size), np.asarray(plan.order)
    for k in range(1, plan.steps):
        here, active = points.at(k), plan.active(k)
        starts = np.sort([segment.first for segment in active])
        labels = np.searchsorted(starts, np.arange(plan.size), side="right") - 1
        means = cluster_means(here[order], labels)[0][labels]
        for segment in active:
            if segment.founders is not None:
                means[segment.first : segment.last] = here[list(segment.founders)].mean(axis=0)
        gaps = here[order] - means
        found[order] += np.einsum("nd,nd->n", gaps, gaps)
    return found


def _grow(points: StepPoints, cuts: Cuts, order: Ids) -> PlannedTree:
    """Return the plan of cuts and one binary tree over all their merges; leaf i is `order[i]`."""
    size, steps = cuts.size, cuts.steps
    numbers, children, heights = _number(points, cuts)
    starts, stops = np.full(2 * size - 1, steps), np.zeros(2 * size - 1, dtype=np.int64)
    starts[:size], stops[:size] = steps - 1, steps
    for step, (merging, made) in enumerate(zip(cuts.merges, cuts.made, strict=True)):
        k = steps - 1 - step
        active = numbers[step][merging.left(made)]
        starts[active], stops[active] = k - 1, np.maximum(stops[active], k)
    tree = _tree(children, heights, order)
    place = np.concatenate([order, np.arange(size, 2 * size - 1)])
    there = np.argsort(place)
    leaves, segments = cut_tree(tree, starts[there], stops[there])
    return PlannedTree(Plan(steps, leaves, segments, CALIBRATED, price=cuts.price), tree)


def _number(points: StepPoints, cuts: Cuts) -> tuple[list[Ids], Ids, Weights]:
    """Return the tree's number of each cluster of each step, and its merges with their increases.

    Merges are numbered from the last step to the first. Clusters that never share a step are merged
    at the end as if they shared the first, since a tree has one root.
    """
    nodes = labels = np.arange(cuts.size)
    numbers, children, heights, first = list[Ids](), list[Ids](), list[Weights](), cuts.size
    for k in range(cuts.steps - 1, -1, -1):
        merging = cuts.merges[cuts.steps - 1 - k] if k else _merge_all(points, labels)
        count = len(merging.children)
        numbers.append(np.concatenate([nodes, first + np.arange(count)]))
        children.append(numbers[-1][merging.children])
        heights.append(merging.increases)
        nodes = numbers[-1][merging.left(count)]
        labels, first = merging.labels()[labels], first + count
    return numbers, np.concatenate(children), np.concatenate(heights)


def _merge_all(points: StepPoints, labels: Ids) -> Merging:
    if points.steps == 1:  # no step is shared, so one tree is as good as another
        return chain_merging(points.size)
    return merge_by_weighted_ward(*cluster_means(points.at(1), labels))


def _tree(children: Ids, increases: Weights, order: Ids) -> ClusterTree:
    """Return the tree, the child with the smallest leaf first, heights never falling upwards."""
    size = len(children) + 1
    smallest, heights = np.arange(2 * size - 1), np.zeros(2 * size - 1)
    children = children.copy()
    for node, (left, right) in enumerate(children, start=size):
        if smallest[right] < smallest[left]:
            children[node - size] = right, left
        smallest[node] = min(smallest[left], smallest[right])
        heights[node] = max(increases[node - size], heights[left], heights[right])
    leaves = children < size
    children[leaves] = order[children[leaves]]
    return ClusterTree(children, heights, CALIBRATED)
