"""Grafting: new branches on the standing forest, as one plan.

A kept picture brings the segments that led to it; a new prompt brings its own steps, from the split
that it goes on from or from noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hierdiff_core.plan import Plan, Segment
from hierdiff_core.standing import Founder, StandingForest


@dataclass(frozen=True)
class Branch:
    """The plan of prompts that go on from one split; it takes no step that the split has taken."""

    split: int  # a segment of the standing forest; -1: they start from noise
    leaves: tuple[int, ...]  # the leaf that each leaf of the plan is
    plan: Plan


@dataclass(frozen=True)
class Grafted:
    """A plan over N leaves that stands on earlier nights."""

    plan: Plan
    guests: tuple[Founder, ...]  # founders that want no picture, which are numbered from N
    stored: frozenset[int]  # segments whose end state, or picture, is stored


@dataclass(frozen=True)
class _Draft:
    """A segment before it has a number."""

    start: int
    stop: int
    parent: int | None
    leaf: int | None = None  # the leaf whose picture it ends in
    founders: tuple[int, ...] | None = None
    stored: bool = False


def graft(
    forest: StandingForest,
    content_keys: Sequence[str],
    kept: Mapping[int, int],
    branches: Sequence[Branch],
    like: Plan,
) -> Grafted:
    """Return one plan of all leaves: kept ones end in the forest, new ones in a branch.

    `like` says the number of steps and how the branches were planned.
    """
    splits = [branch.split for branch in branches if branch.split >= 0]
    leaf_of = {key: leaf for leaf, key in enumerate(content_keys)}
    standing = sorted({each for end in (*kept.values(), *splits) for each in forest.path(end)})
    place = {segment: number for number, segment in enumerate(standing)}
    guests = _guests(forest, standing, leaf_of)
    number_of = {**leaf_of, **{key: len(leaf_of) + at for at, key in enumerate(guests)}}
    pictures = {segment: leaf for leaf, segment in kept.items()}
    drafts = [
        _Draft(
            int(forest.starts[segment]),
            int(forest.stops[segment]),
            place.get(int(forest.parents[segment])),
            pictures.get(segment),
            tuple(sorted(number_of[forest.prompts[each].content_key] for each in founders)),
            bool(forest.stored[segment]),
        )
        for segment, founders in ((each, forest.founders[each]) for each in standing)
    ]
    for branch in branches:
        drafts += _draft_branch(branch, place.get(branch.split), drafts)
    plan, stored = _number(drafts, like)
    return Grafted(plan, tuple(guests.values()), stored)


def _guests(
    forest: StandingForest, standing: Sequence[int], leaf_of: Mapping[str, int]
) -> dict[str, Founder]:
    """Return the founders of segments that are none of tonight's leaves, by content key."""
    founders = {each for segment in standing for each in forest.founders[segment]}
    prompts = {forest.prompts[each].content_key: forest.prompts[each] for each in founders}
    return {key: prompts[key] for key in sorted(prompts) if key not in leaf_of}


def _draft_branch(branch: Branch, split: int | None, drafts: Sequence[_Draft]) -> list[_Draft]:
    """Return a branch's segments, without the steps that its split has taken."""
    first = 0 if split is None else drafts[split].stop
    made: list[_Draft] = []
    places: dict[int | None, int | None] = {None: split}
    for segment in branch.plan.segments:
        if segment.stop <= first:
            places[segment.id] = split
            continue
        places[segment.id] = len(drafts) + len(made)
        end = branch.plan.is_leaf(segment)
        leaf = branch.leaves[branch.plan.order[segment.first]] if end else None
        start = max(segment.start, first)
        made.append(_Draft(start, segment.stop, places[segment.parent], leaf))
    return made


def _number(drafts: Sequence[_Draft], like: Plan) -> tuple[Plan, frozenset[int]]:
    """Return the plan of drafts, depth first, and of siblings the one with the smallest leaf."""
    children: dict[int | None, list[int]] = {}
    for number, draft in enumerate(drafts):
        children.setdefault(draft.parent, []).append(number)
    smallest = _smallest_leaves(drafts)
    order: list[int] = []
    segments: list[Segment] = []
    ids: dict[int | None, int | None] = {None: None}
    waiting = sorted(children.get(None, ()), key=smallest.__getitem__, reverse=True)
    while waiting:
        number = waiting.pop()
        draft = drafts[number]
        ids[number] = identity = len(segments)
        span = (draft.start, draft.stop, ids[draft.parent], len(order), -1)
        segments.append(Segment(identity, identity, *span, draft.founders))
        if draft.leaf is not None:
            order.append(draft.leaf)
        waiting += sorted(children.get(number, ()), key=smallest.__getitem__, reverse=True)
    return _close(segments, order, like), frozenset(
        int(ids[number] or 0) for number, draft in enumerate(drafts) if draft.stored
    )


def _smallest_leaves(drafts: Sequence[_Draft]) -> list[int]:
    """Return the smallest leaf below each draft; parents come before their children."""
    smallest = [len(drafts) if draft.leaf is None else draft.leaf for draft in drafts]
    for number in range(len(drafts) - 1, -1, -1):
        parent = drafts[number].parent
        if parent is not None:
            smallest[parent] = min(smallest[parent], smallest[number])
    return smallest


def _close(segments: Sequence[Segment], order: Sequence[int], like: Plan) -> Plan:
    """Return the plan of segments that know their first leaf, but not yet their last."""
    lasts = [segment.first + (segment.stop == like.steps) for segment in segments]
    for segment in reversed(segments):
        if segment.parent is not None:
            lasts[segment.parent] = max(lasts[segment.parent], lasts[segment.id])
    closed = []
    for segment, last in zip(segments, lasts, strict=True):
        members = tuple(sorted(order[segment.first : last]))
        founders = None if segment.founders == members else segment.founders
        closed.append(replace(segment, last=last, founders=founders))
    return replace(like, order=tuple(order), segments=tuple(closed))
