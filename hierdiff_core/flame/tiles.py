"""The plan as tiles of a flame graph: leaves along x, steps down y.

Neighbours below a smallest width are drawn as one tile. Widths are in leaves, not in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from hierdiff_core.plan import Plan, Segment

LEVELS = 7  # 0: a leaf's own steps; 1 to 6: shared by two up to the widest sharing


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle: its area is the evaluations without sharing, `evaluations` those with it."""

    segment: int  # the segment drawn, or the first of those drawn as one
    first: int  # its leaves are plan.order[first:last]
    last: int
    start: int  # first step, from 0
    stop: int  # one past the last step
    clusters: int  # how many rows are denoised here; 1 unless segments are drawn as one
    evaluations: int
    level: int  # how widely its steps are shared, 0 to LEVELS - 1

    @property
    def size(self) -> int:
        """Leaves below the tile."""
        return self.last - self.first

    @property
    def saved(self) -> int:
        """Evaluations that sharing saves here."""
        return self.size * (self.stop - self.start) - self.evaluations


def widest_sharing(plan: Plan) -> int:
    """Return the number of leaves below the plan's widest segment."""
    return max(segment.size for segment in plan.segments)


def rows_at_each_step(segments: Iterable[Segment], steps: int) -> list[int]:
    """Return how many of the segments take each of the steps."""
    rows = [0] * steps
    for segment in segments:
        for step in range(segment.start, segment.stop):
            rows[step] += 1
    return rows


def top_level(widest: int) -> int:
    """Return the level of a plan's widest sharing; small clusters do not use the whole range."""
    return 0 if widest < 2 else min(LEVELS - 1, 2 + int(math.log2(widest)))


def share_level(share: float, widest: int) -> int:
    """Return how widely a step is shared: 0 for one leaf, 1 for two, the top for the widest.

    Logarithmic between, since clusters grow by factors.
    """
    top = top_level(widest)
    if share < 1.5:
        return 0
    if share >= widest:
        return top
    place = math.log(max(share, 2.0) / 2) / math.log(widest / 2)
    return 1 + min(top - 2, int((top - 1) * place))


def tiles(plan: Plan, narrowest: float) -> Iterator[Tile]:
    """Yield the plan's tiles, parents before children.

    Neighbours narrower than `narrowest` leaves are drawn as one until they reach that width, with
    everything below them; so the number of tiles is bounded by the picture, not by the plan.
    """
    widest = widest_sharing(plan)
    waiting = [plan.roots]
    while waiting:
        siblings = [plan.segments[each] for each in waiting.pop()]
        for group in _groups(siblings, narrowest):
            if group[0].size >= narrowest:
                yield _tile(group[0], widest)
                waiting.append(plan.children[group[0].id])
            else:
                yield from _merged(plan, group, widest)


def _groups(siblings: Sequence[Segment], narrowest: float) -> Iterator[list[Segment]]:
    """Yield wide siblings alone and runs of narrow neighbours together."""
    run: list[Segment] = []
    for segment in siblings:
        wide = segment.size >= narrowest
        follows = bool(run) and run[-1].last == segment.first and run[-1].start == segment.start
        if run and (wide or not follows or segment.last - run[0].first > 2 * narrowest):
            yield run
            run = []
        if wide:
            yield [segment]
        else:
            run.append(segment)
    if run:
        yield run


def _tile(segment: Segment, widest: int) -> Tile:
    return Tile(
        segment=segment.id,
        first=segment.first,
        last=segment.last,
        start=segment.start,
        stop=segment.stop,
        clusters=1,
        evaluations=segment.steps,
        level=share_level(segment.size, widest),
    )


def _merged(plan: Plan, group: Sequence[Segment], widest: int) -> Iterator[Tile]:
    """Yield one column for a run of narrow subtrees, cut where its sharing changes."""
    first, last = group[0].first, group[-1].last
    below = [plan.segments[each] for root in group for each in plan.subtree(root.id)]
    rows = rows_at_each_step(below, plan.steps)
    taken = [step for step in range(plan.steps) if rows[step]]
    levels = {step: share_level((last - first) / rows[step], widest) for step in taken}
    for level, steps in groupby(taken, key=levels.__getitem__):
        span = list(steps)
        counts = rows[span[0] : span[-1] + 1]
        yield Tile(
            segment=next(s.id for s in below if s.start <= span[0] < s.stop),
            first=first,
            last=last,
            start=span[0],
            stop=span[-1] + 1,
            clusters=max(counts),
            evaluations=sum(counts),
            level=level,
        )
