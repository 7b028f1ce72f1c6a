"""Rejected rows, of which no picture is made, and rows whose pictures people reject."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

_LISTED = 8  # rows that a line names
# What differs between two rows of one kind: where they are, what they hold, how much it is.
_PLACE = re.compile(r"^Row \d+(?: \(.*?\))?: ")
_VALUE = re.compile(r"(?<= holds ).*(?=, not )")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that no picture can be made of."""

    row: int  # as the source counts it
    reason: str


@dataclass(frozen=True, slots=True)
class RejectedOften:
    """A row that waits for a person."""

    row: int
    name: str  # of its picture, such as A-17#2
    times: int  # that its picture was rejected
    reason: str  # of the last time

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"row {self.row} ({self.name}), {self.times} times{why}"


@dataclass(frozen=True, slots=True)
class RejectedKind:
    """Rows that were rejected for one reason."""

    rows: tuple[int, ...]
    reason: str  # of the first of them

    def line(self) -> str:
        """Return the first row's reason, and which other rows have it too."""
        others = self.rows[1:]
        if not others:
            return self.reason
        more = len(others) - _LISTED
        named = ", ".join(map(str, others[:_LISTED])) + (f" and {more:,} more" if more > 0 else "")
        return f"{self.reason} The same holds for {len(others):,} more: {named}."


def by_kind(rejected: Iterable[Rejected]) -> tuple[RejectedKind, ...]:
    """Return the kinds in the order of their first rows."""
    kinds: dict[str, list[Rejected]] = defaultdict(list)
    for each in rejected:
        kinds[_kind(each.reason)].append(each)
    return tuple(
        RejectedKind(tuple(each.row for each in rows), rows[0].reason) for rows in kinds.values()
    )


def _kind(reason: str) -> str:
    return _NUMBER.sub("#", _VALUE.sub("", _PLACE.sub("", reason)))
