"""Conditionings that are too large to be held: the mean of a cluster is read member by member."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hierdiff_core.embedding import Conditioning, Slot, mean_of

# Takes keys, returns all of their rows by key; raises where one is missing.
Read = Callable[[Sequence[str]], Mapping[str, Conditioning]]

ROOM = 2**28  # bytes of rows that are held: of small embeddings all, of large ones the latest
_CALL = 2**25  # bytes of rows that are read in one call
_MOST = 512  # rows that are read in one call


@dataclass
class StreamedConditioning:
    """The conditioning of N prompts, of which no more is held than there is room for.

    The bits of a mean are those of `Conditioning.mean`.
    """

    keys: Sequence[str]  # of the N prompts
    read: Read
    members: Sequence[int]  # those that will be asked for, one at least
    room: int = ROOM
    _held: OrderedDict[str, Conditioning] = field(default_factory=OrderedDict)
    _bytes: int = 0  # of what is held

    def __post_init__(self) -> None:
        for row in self._rows(self.members):
            if self._bytes + row.bytes > self.room:
                break

    def blank(self) -> Conditioning:
        """See Members."""
        return next(iter(self._held.values())).blank()

    def mean(self, members: Sequence[int], slots: Sequence[Slot] = ()) -> Conditioning:
        """See Members."""
        return mean_of(self._rows(sorted(members)), len(members), slots)

    def _rows(self, members: Sequence[int]) -> Iterator[Conditioning]:
        first = 0
        while first < len(members):
            keys = [self.keys[each] for each in members[first : first + self._call()]]
            missing = [key for key in dict.fromkeys(keys) if key not in self._held]
            read = self.read(missing) if missing else {}
            rows = [read.get(key) or self._held[key] for key in keys]
            self._hold(dict(zip(keys, rows, strict=True)))
            yield from rows
            first += len(keys)

    def _call(self) -> int:
        """Return how many rows to read at once: one while their size is not known."""
        if not self._held:
            return 1
        row = next(iter(self._held.values()))
        return max(1, min(_MOST, _CALL // row.bytes))

    def _hold(self, rows: Mapping[str, Conditioning]) -> None:
        for key, row in rows.items():
            if key not in self._held:
                self._bytes += row.bytes
            self._held[key] = row
            self._held.move_to_end(key)
        while self._bytes > self.room and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._bytes -= dropped.bytes
