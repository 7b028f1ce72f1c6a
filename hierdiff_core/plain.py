"""Plain pictures: a sample of a plan's rows, made without sharing, to see what sharing did to them.

A plain picture starts from the noise that the shared one started from, takes the same steps of the
same solver, and is steered by its own prompt from the first step on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hierdiff_core.digest import digest
from hierdiff_core.forest import Forest
from hierdiff_core.keys import node_key
from hierdiff_core.plan import Plan, Segment

MOST = 50  # rows of a sample


@dataclass(frozen=True)
class PlainPlan:
    """Rows without sharing, under the numbers that their leaves have in the plan with it."""

    plan: Plan
    names: tuple[str, ...]  # by which each segment draws noise: those of the shared path


def choose_sample(
    plan: Plan, content_keys: Sequence[str], made: Iterable[int], share: float
) -> tuple[int, ...]:
    """Return the leaves of a sample: a share of those that are made, out of those that share steps.

    At least one where any of them shares and the share is above 0, at most `MOST`. Which ones
    follows from the content keys alone.
    """
    leaves = list(made)
    sharing = [leaf for leaf in leaves if is_shared(plan, leaf)]
    count = min(MOST, max(1, math.ceil(share * len(leaves)))) if share > 0 else 0
    drawn = sorted(sharing, key=lambda leaf: digest("sample", content_keys[leaf]))
    return tuple(sorted(drawn[:count]))


def sample_of(forest: Forest, share: float) -> tuple[int, ...]:
    """Return the sample of a forest that is about to be run: none of a picture that it keeps."""
    plan = forest.plan
    made = (leaf for leaf in plan.order if plan.leaf_segment(leaf).id not in forest.stored)
    keys = [key for group in forest.groups for key in group.content_keys]
    return choose_sample(plan, keys, made, share)


def is_shared(plan: Plan, leaf: int) -> bool:
    """Return whether any step of a leaf is steered by others than itself."""
    path = plan.path(plan.leaf_segment(leaf))
    return any(plan.founders(segment) != (leaf,) for segment in path)


def make_plain_plan(
    plan: Plan,
    leaves: Sequence[int],
    content_keys: Sequence[str],
    text_keys: Sequence[str] = (),
) -> PlainPlan:
    """Return the plan of some leaves of a plan, each alone from its first step to its last."""
    segments: list[Segment] = []
    names: list[str] = []
    for place, leaf in enumerate(leaves):
        parent = None
        for each in plan.path(plan.leaf_segment(leaf)):
            alone = (each.node, each.start, each.stop, parent, place, place + 1)
            parent = len(segments)
            segments.append(Segment(parent, *alone))
            names.append(node_key(plan, each, content_keys, text_keys))
    return PlainPlan(replace(plan, order=tuple(leaves), segments=tuple(segments)), tuple(names))
