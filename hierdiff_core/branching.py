"""Branching: which split new pictures go on from, and the plan of those that go on from one.

A first picture goes on from the split that it gains most from. A variant parts early: it goes on
from a split that its text's first picture stands on, or else from the best one, that has not taken
more steps than a variant may share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hierdiff_core.forest import Group
from hierdiff_core.grafting import Branch
from hierdiff_core.parting import Siblings, find_siblings, part, steps_shared
from hierdiff_core.plan import Plan
from hierdiff_core.standing import NO_SPLIT, best_splits

if TYPE_CHECKING:
    from hierdiff_core.joining import Gains
    from hierdiff_core.planners import PlanSettings, Stand

Vectors = npt.NDArray[np.floating]
PlanTexts = Callable[[Vectors, Sequence[str]], Plan]  # of their vectors and keys


def make_branches(
    group: Group,
    stand: Stand,
    settings: PlanSettings,
    find_gains: Callable[[], Gains],
    plan: PlanTexts,
) -> tuple[Branch, ...]:
    """Return the branches of a group's new leaves; `find_gains` and `plan` are a planner's own."""
    most = steps_shared(settings.shared, group.recipe.evaluations)
    place, going = _places(stand), dict[int, list[Siblings]]()
    joins = settings.joins and len(stand.forest.splits(group.recipe.evaluations)) > 0
    gains = find_gains() if joins else None
    for split, each in _siblings_by_split(group, stand, gains, most):
        going.setdefault(split, []).append(each)
    made = []
    for split, siblings in sorted(going.items()):
        leaves = tuple(leaf for each in siblings for leaf in _leaves(each))
        rows = stand.vectors[[place[each.steering] for each in siblings]]
        texts = plan(rows, [group.text_keys[each.steering] for each in siblings])
        made.append(Branch(split, leaves, part(texts, _renumber(siblings), most)))
    return tuple(made)


def _siblings_by_split(
    group: Group, stand: Stand, gains: Gains | None, most: int
) -> Iterator[tuple[int, Siblings]]:
    """Yield siblings with the split that each goes on from.

    Where a first picture goes on from a later split than its variants may, they go apart.
    """
    forest, steps, place = stand.forest, group.recipe.evaluations, _places(stand)

    def find_splits(below: int) -> list[int]:
        if gains is None:
            return [NO_SPLIT] * len(stand.new)
        return best_splits(forest, below, len(stand.new), gains).tolist()

    late = find_splits(steps)
    early = find_splits(most + 1) if group.has_variants else late
    ends = forest.pictures(steps) if group.has_variants and gains is not None else {}
    for each in find_siblings(stand.new, group.content_keys, group.text_keys):
        row, apart = place[each.steering], each.variants
        if each.first is not None:
            split = late[row]
            if split == NO_SPLIT or forest.stops[split] <= most:
                yield split, each
                continue
            yield split, Siblings(each.first)
        if apart:
            end = ends.get(group.text_keys[each.steering])
            own = NO_SPLIT if end is None else forest.last_split(end, most)
            yield early[row] if own == NO_SPLIT else own, Siblings(None, apart)


def _places(stand: Stand) -> dict[int, int]:
    return {leaf: row for row, leaf in enumerate(stand.new)}


def _leaves(each: Siblings) -> tuple[int, ...]:
    return each.variants if each.first is None else (each.first, *each.variants)


def _renumber(siblings: Sequence[Siblings]) -> list[Siblings]:
    """Return siblings whose leaves are numbered in the order of `_leaves`, from 0."""
    made, number = list[Siblings](), 0
    for each in siblings:
        size = len(_leaves(each))
        first = None if each.first is None else number
        made.append(Siblings(first, tuple(range(number + (first is not None), number + size))))
        number += size
    return made
