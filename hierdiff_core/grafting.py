"""Grafting: new branches on the standing forest, as one plan.

A kept picture brings the segments that led to it; a new prompt brings its own steps, from the split
that it goes on from or from noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hierdiff_core.drafts import Draft, number_drafts
from hierdiff_core.plan import Plan
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
        Draft(
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
    plan, stored = number_drafts(drafts, like)
    return Grafted(plan, tuple(guests.values()), stored)


def _guests(
    forest: StandingForest, standing: Sequence[int], leaf_of: Mapping[str, int]
) -> dict[str, Founder]:
    """Return the founders of segments that are none of tonight's leaves, by content key."""
    founders = {each for segment in standing for each in forest.founders[segment]}
    prompts = {forest.prompts[each].content_key: forest.prompts[each] for each in founders}
    return {key: prompts[key] for key in sorted(prompts) if key not in leaf_of}


def _draft_branch(branch: Branch, split: int | None, drafts: Sequence[Draft]) -> list[Draft]:
    """Return a branch's segments, without the steps that its split has taken."""
    first = 0 if split is None else drafts[split].stop
    made: list[Draft] = []
    places: dict[int | None, int | None] = {None: split}
    for segment in branch.plan.segments:
        if segment.stop <= first:
            places[segment.id] = split
            continue
        places[segment.id] = len(drafts) + len(made)
        end = branch.plan.is_leaf(segment)
        leaf = branch.leaves[branch.plan.order[segment.first]] if end else None
        start = max(segment.start, first)
        founders = segment.founders
        if founders is not None:
            founders = tuple(sorted(branch.leaves[each] for each in founders))
        made.append(Draft(start, segment.stop, places[segment.parent], leaf, founders))
    return made
