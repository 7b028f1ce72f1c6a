"""Drafts: segments before they are numbered, and the plan of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hierdiff_core.plan import Plan, Segment


@dataclass(frozen=True)
class Draft:
    """A segment before it has a number; its parent is a place in a list of drafts."""

    start: int
    stop: int
    parent: int | None
    leaf: int | None = None  # the leaf whose picture it ends in
    founders: tuple[int, ...] | None = None
    stored: bool = False


def number_drafts(drafts: Sequence[Draft], like: Plan) -> tuple[Plan, frozenset[int]]:
    """Return the plan of drafts, depth first, of siblings the smallest leaf first.

    With it come the numbers of the segments that are stored. Parents come before their children.
    """
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


def _smallest_leaves(drafts: Sequence[Draft]) -> list[int]:
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
