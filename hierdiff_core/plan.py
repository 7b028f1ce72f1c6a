"""The plan: which clusters take which steps, a forest of segments.

A segment may have any number of children; the nodes that segments are cut from form binary trees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.tree import ClusterTree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.schedule import Schedule

PAPER, CALIBRATED = "paper", "calibrated"  # planners


@dataclass(frozen=True, slots=True)
class Segment:
    """A cluster's steps: one row that is denoised from `start` to `stop`."""

    id: int  # place in the plan
    node: int  # the tree's node
    start: int  # first step, from 0
    stop: int  # one past the last step
    parent: int | None  # the segment whose latents it starts from
    first: int  # its members are plan.order[first:last]
    last: int
    # Leaves whose mean steers it, from the night that it was planned on; None: its members.
    founders: tuple[int, ...] | None = None

    @property
    def steps(self) -> int:
        """Evaluations that the segment takes."""
        return self.stop - self.start

    @property
    def size(self) -> int:
        """Leaves that share the segment."""
        return self.last - self.first


@dataclass(frozen=True)
class Plan:
    """A forest of segments over N leaves; parents come before their children, depth first.

    Founders that want no picture are numbered from N.
    """

    steps: int  # K
    order: tuple[int, ...]  # leaves from left to right, so that members are contiguous
    segments: tuple[Segment, ...]
    planner: str  # its name, such as `paper` or `calibrated`
    linkage: str | None = None  # of the paper's trees
    tau: float | None = None  # scale of the thresholds that cut the paper's trees
    price: float | None = None  # of an evaluation, in predicted excess; of a calibrated plan

    @property
    def size(self) -> int:
        """The number of leaves, N."""
        return len(self.order)

    @cached_property
    def evaluations(self) -> int:
        """Denoiser evaluations that the plan takes; a guided pair counts as one."""
        return sum(segment.steps for segment in self.segments)

    @property
    def evaluations_standard(self) -> int:
        """Evaluations without sharing, N K."""
        return self.size * self.steps

    @property
    def saving(self) -> float:
        """1 - evaluations / (N K)."""
        return 1 - self.evaluations / self.evaluations_standard

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """For each segment, the segments that start from its latents."""
        children: list[list[int]] = [[] for _ in self.segments]
        for segment in self.segments:
            if segment.parent is not None:
                children[segment.parent].append(segment.id)
        return tuple(map(tuple, children))

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """The segments that start from noise."""
        return tuple(segment.id for segment in self.segments if segment.parent is None)

    @cached_property
    def _leaf_segments(self) -> Mapping[int, int]:
        return {
            self.order[segment.first]: segment.id
            for segment in self.segments
            if segment.stop == self.steps
        }

    def active(self, k: int) -> tuple[Segment, ...]:
        """Return the segments that take step k = 1..K; their members partition the leaves."""
        return tuple(s for s in self.segments if s.start < k <= s.stop)

    def members(self, segment: Segment) -> tuple[int, ...]:
        """Return the leaves that share a segment."""
        return self.order[segment.first : segment.last]

    def founders(self, segment: Segment) -> tuple[int, ...]:
        """Return the leaves whose mean steers a segment."""
        return self.members(segment) if segment.founders is None else segment.founders

    def leaf_segment(self, leaf: int) -> Segment:
        """Return the segment that ends in the leaf's picture."""
        return self.segments[self._leaf_segments[leaf]]

    def is_leaf(self, segment: Segment) -> bool:
        """Return whether the segment ends in a picture."""
        return segment.stop == self.steps

    def path(self, segment: Segment) -> tuple[Segment, ...]:
        """Return the segments from the root down to this one."""
        path = [segment]
        while path[-1].parent is not None:
            path.append(self.segments[path[-1].parent])
        return tuple(reversed(path))

    def subtree(self, root: int) -> Iterator[int]:
        """Yield a segment and its descendants, depth first."""
        waiting = [root]
        while waiting:
            here = waiting.pop()
            yield here
            waiting.extend(reversed(self.children[here]))

    def to_json(self) -> dict[str, object]:
        """Return the plan as JSON values."""
        # `asdict` copies deeply, which takes seconds at a hundred thousand segments.
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"segments": list(map(_as_json, self.segments))}

    @staticmethod
    def from_json(fields: Mapping[str, object]) -> Plan:
        """Return the plan that `to_json` wrote."""
        segments = tuple(map(_from_json, fields["segments"]))  # type: ignore[call-overload]
        order: tuple[int, ...] = tuple(fields["order"])  # type: ignore[arg-type]
        return Plan(**{**fields, "segments": segments, "order": order})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class PlannedTree:
    """A plan and the binary tree whose nodes its segments are."""

    plan: Plan
    tree: ClusterTree


def make_plan(tree: ClusterTree, schedule: Schedule) -> Plan:
    """Return the paper's plan (Eq. 6, Algorithm 1) of one tree in segment form.

    Node c takes step k iff height(parent(c)) >= phi(k) and (c is a leaf or height(c) < phi(k)). As
    phi falls with k, that is one contiguous range: from |{k: phi(k) > height(parent)}| to
    |{k: phi(k) > height(c)}|, or to K for a leaf. A segment starts from its nearest active
    ancestor, which is the parent that Algorithm 1 means.
    """
    rising = schedule.phi()[::-1]
    above = schedule.steps - np.searchsorted(rising, tree.heights, side="right")
    stops = np.where(np.arange(len(above)) < tree.size, schedule.steps, above)
    starts = np.where(tree.parents < 0, 0, above[tree.parents])
    order, segments = cut_tree(tree, starts, stops)
    return Plan(schedule.steps, order, segments, PAPER, tree.linkage, schedule.tau)


def cut_tree(
    tree: ClusterTree,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
) -> tuple[tuple[int, ...], tuple[Segment, ...]]:
    """Return order and segments where each node (2N-1,) takes the steps from start to stop.

    A node whose start is not below its stop takes none. A segment's parent is the nearest segment
    that contains its leaves.
    """
    nodes = np.flatnonzero(starts < stops)
    spans = tree.spans
    nodes = nodes[np.lexsort((starts[nodes], spans[nodes, 0]))]
    segments: list[Segment] = []
    open_path: list[Segment] = []
    for node in map(int, nodes):
        first, last = map(int, spans[node])
        while open_path and open_path[-1].last <= first:
            open_path.pop()
        parent = open_path[-1].id if open_path else None
        span = (int(starts[node]), int(stops[node]))
        open_path.append(Segment(len(segments), node, *span, parent, first, last))
        segments.append(open_path[-1])
    return tuple(map(int, tree.order)), tuple(segments)


def join_plans(plans: Sequence[Plan], guests: Sequence[int] | None = None) -> Plan:
    """Return plans of one planner, of the same steps, as one forest.

    Leaves, nodes and segments of later plans take the numbers after those of earlier ones; a plan
    of n leaves takes 2n - 1 node numbers, or one for each of its segments. `guests` counts each
    plan's founders that want no picture, which follow all leaves. Raises InvalidSetting for no
    plans.
    """
    if not plans:
        raise InvalidSetting(setting="plans", value=0, hint="a forest needs at least one plan")
    order: list[int] = []
    segments: list[Segment] = []
    node, guest = 0, sum(plan.size for plan in plans)
    for plan, count in zip(plans, guests or [0] * len(plans), strict=True):
        leaf, start = len(order), len(segments)
        numbers = [*range(leaf, leaf + plan.size), *range(guest, guest + count)]
        segments += [_shifted(segment, start, node, leaf, numbers) for segment in plan.segments]
        order += [leaf + here for here in plan.order]
        node += max(2 * plan.size - 1, len(plan.segments))
        guest += count
    return replace(plans[0], order=tuple(order), segments=tuple(segments))


_FIELDS = tuple(field.name for field in dataclasses.fields(Segment) if field.name != "founders")


def _as_json(segment: Segment) -> dict[str, object]:
    fields = {name: getattr(segment, name) for name in _FIELDS}
    return fields if segment.founders is None else {**fields, "founders": list(segment.founders)}


def _from_json(fields: Mapping[str, Any]) -> Segment:
    founders = fields.get("founders")
    return Segment(**{**fields, "founders": None if founders is None else tuple(founders)})


def _shifted(segment: Segment, start: int, node: int, leaf: int, numbers: Sequence[int]) -> Segment:
    founders = segment.founders
    return Segment(
        id=segment.id + start,
        node=segment.node + node,
        start=segment.start,
        stop=segment.stop,
        parent=None if segment.parent is None else segment.parent + start,
        first=segment.first + leaf,
        last=segment.last + leaf,
        founders=None if founders is None else tuple(numbers[each] for each in founders),
    )
