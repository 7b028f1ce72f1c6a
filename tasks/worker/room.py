"""Room: how much finished work may wait to be stored.

A few dozen things while the stores answer, for a crash loses what waits. While one is away, as much
as the memory set for it holds, so that the device goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

WAITING = 64  # splits and pictures that may wait while the stores answer
_LOOK = 0.5  # seconds between looks at whether a store is away


class Room:
    """Counts what waits; threads may share it."""

    def __init__(self, most: int, is_away: Callable[[], bool]) -> None:
        self.most, self.is_away = most, is_away
        self._things = self._bytes = 0
        self._changed = threading.Condition()

    def try_take(self, size: int) -> bool:
        """Take room for one thing of so many bytes; return False where there is none now."""
        with self._changed:
            return self._take(size)

    def take(self, size: int, check: Callable[[], None]) -> None:
        """Wait for room for one thing, and take it; raises what `check` raises meanwhile."""
        with self._changed:
            while not self._take(size):
                self._changed.wait(_LOOK)
                check()

    def give_back(self, things: int, size: int) -> None:
        """Free the room of things of so many bytes in all."""
        with self._changed:
            self._things -= things
            self._bytes -= size
            self._changed.notify_all()

    def _take(self, size: int) -> bool:
        fits = self._bytes + size <= self.most or not self._things  # one thing always fits
        free = fits and (self._things < WAITING or self.is_away())
        if free:
            self._things += 1
            self._bytes += size
        return free
