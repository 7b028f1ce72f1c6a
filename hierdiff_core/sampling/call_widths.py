"""Call widths: how many rows the call has in which a segment takes a step.

A network's rounding depends on the shape of a call, not on the other rows in it. So that a picture
has the same bits after any interruption, the shape is a function of the plan: the undisturbed run
is rehearsed, and each step of each segment is taken, whenever that is, in a call as wide as its
call in the rehearsal, padded where rows are missing. Steps of one forward pass and of two, where
guidance has an interval, are taken in calls of their own: a call of both would change its shape
with its rows. The rehearsal costs microseconds a segment.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from hierdiff_core.plan import Plan
from hierdiff_core.sampling.ready_queue import ReadyQueue


class CallWidths:
    """The width of each call, for the parts of a plan that are run apart, such as its shards."""

    def __init__(
        self,
        plan: Plan,
        parts: Sequence[Collection[int]],
        slots: int,
        *,
        few: bool = False,
        forwards: Sequence[int] = (),
    ) -> None:
        self.plan, self.parts, self.slots, self.few = plan, parts, slots, few
        self.forwards = forwards or (1,) * plan.steps
        self._part_of = {each: part for part, segments in enumerate(parts) for each in segments}
        self._widths: dict[int, Mapping[int, array[int]]] = {}

    def width(self, segment: int, step: int) -> int:
        """Return the rows of the call in which a segment takes a step.

        A step before its start is one of a cluster above it that it goes on without.
        """
        while step < self.plan.segments[segment].start:
            segment = self.plan.segments[segment].parent or 0
        part = self._part_of[segment]
        if part not in self._widths:
            self._widths[part] = rehearse(
                self.plan, self.parts[part], self.slots, few=self.few, forwards=self.forwards
            )
        return self._widths[part][segment][step - self.plan.segments[segment].start]


def rehearse(
    plan: Plan,
    part: Collection[int],
    slots: int,
    *,
    few: bool = False,
    forwards: Sequence[int] = (),
) -> dict[int, array[int]]:
    """Return, for each segment of a part, the width of the call of each of its steps.

    `forwards` are the forward passes of each step (K,).

    The part is walked as if all segments above it were finished and nothing ever failed.
    """
    done = {above for each in part if (above := plan.segments[each].parent) is not None}
    queue = ReadyQueue(plan, part, done.difference(part), slots)
    widths = {each: array("H") for each in part}
    passes = forwards or (1,) * plan.steps
    alike = _alike(passes)
    while queue.fill(slots) or queue.rows:
        rows = Counter(passes[row.step] for row in queue.rows)
        steps = min(min(row.segment.stop - row.step, alike[row.step]) for row in queue.rows)
        for row in queue.rows:
            width = fit_width(rows[passes[row.step]], slots, few=few)
            widths[row.segment.id].extend([width] * steps)
            row.step += steps
        queue.collect()
    return widths


def _alike(forwards: Sequence[int]) -> list[int]:
    """Return how many steps from each one on have as many forward passes as it (K,)."""
    counts = [1] * len(forwards)
    for step in reversed(range(len(forwards) - 1)):
        if forwards[step] == forwards[step + 1]:
            counts[step] += counts[step + 1]
    return counts


def fit_width(rows: int, slots: int, *, few: bool) -> int:
    """Return the width of a call of `rows` rows: the same, or with `few` the next power of two.

    A compiled network needs few shapes; any other is fastest without padding.
    """
    return min(slots, 1 << (rows - 1).bit_length()) if few else rows
