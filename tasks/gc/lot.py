"""A lot: what goes of one kind, counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Lot:
    """Things of one kind that go, or have gone."""

    kind: str  # a folder of the bucket, with its slash, or a table
    count: int = 0
    bytes: int | None = None  # None where nobody knows
    oldest: datetime | None = None
    newest: datetime | None = None

    def __add__(self, other: Lot) -> Lot:
        sizes = [each for each in (self.bytes, other.bytes) if each is not None]
        ends = (self.oldest, self.newest, other.oldest, other.newest)
        times = [each for each in ends if each is not None]
        total = sum(sizes) if sizes else None
        first, last = min(times, default=None), max(times, default=None)
        return Lot(self.kind, self.count + other.count, total, first, last)


def add_up(lots: Iterable[Lot]) -> tuple[Lot, ...]:
    """Return one lot of each kind, tables before folders; empty ones are left out."""
    sums: dict[str, Lot] = {}
    for lot in lots:
        sums[lot.kind] = sums[lot.kind] + lot if lot.kind in sums else lot
    lots = (lot for lot in sums.values() if lot.count)
    return tuple(sorted(lots, key=lambda lot: (lot.kind.endswith("/"), lot.kind)))
