"""The ready queue: which segment takes which slot, and when.

Pure bookkeeping, without a tensor or a device, so that a run can be rehearsed before it is made.
Depth first: the segment that became ready last is taken first.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import Plan, Segment


@dataclass(eq=False)
class Row:
    """A segment under way, in a slot of its own."""

    segment: Segment
    slot: int
    step: int  # the one to take next


class ReadyQueue:
    """The segments that are ready and those in the slots.

    Raises InvalidSetting for a segment whose parent is neither finished nor wanted.
    """

    def __init__(self, plan: Plan, only: Collection[int], finished: Container[int], slots: int):
        self.plan = plan
        self.wanted = {each for each in only if each not in finished}
        self.ready: list[int] = []
        self.rows: list[Row] = []
        self.free = list(range(slots))[::-1]
        for segment in sorted(self.wanted, reverse=True):
            parent = plan.segments[segment].parent
            if parent is None or parent in finished:
                self.ready.append(segment)
            elif parent not in self.wanted:
                raise InvalidSetting(
                    setting="only",
                    value=segment,
                    hint=f"segment {parent} must be finished before it",
                )

    def fill(self, most: int) -> list[Row]:
        """Give free slots to ready segments, up to `most` rows in all; return the new rows."""
        started = []
        while self.ready and self.free and len(self.rows) < most:
            segment = self.plan.segments[self.ready.pop()]
            started.append(Row(segment, self.free.pop(), segment.start))
            self.rows.append(started[-1])
        return started

    def collect(self) -> list[Row]:
        """Remove and return ended rows; free their slots and make their children ready."""
        ended = [row for row in self.rows if row.step == row.segment.stop]
        if ended:
            self.rows = [row for row in self.rows if row.step < row.segment.stop]
        for row in ended:
            self.free.append(row.slot)
            self.ready.extend(reversed(self.children(row.segment)))
        return ended

    def drop(self, segment: Segment) -> set[int]:
        """Give up a segment, under way or ended, and all below it; return what will not be run."""
        lost = {each for each in self.plan.subtree(segment.id) if each in self.wanted}
        self.wanted.difference_update(lost)
        self.ready = [each for each in self.ready if each in self.wanted]
        self.free += [row.slot for row in self.rows if row.segment.id in lost]
        self.rows = [row for row in self.rows if row.segment.id not in lost]
        return lost

    def children(self, segment: Segment) -> Sequence[int]:
        """Return the segments of this queue that start where one ends."""
        return [each for each in self.plan.children[segment.id] if each in self.wanted]
