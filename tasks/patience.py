"""Patience: a call that finds a service away is made again, until it is back or time runs out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from hierdiff_core.errors import HierdiffError
from tasks.errors import StillAway, UnreachableDatabase, UnreachableStorage

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_FIRST, _LONGEST = 0.25, 5.0  # seconds between two tries; each pause is twice the one before


class Patience:
    """How long services may be away; the threads of a process share it, so that one of them warns.

    With 0 seconds nothing is tried again.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._waiting = 0  # calls
        self._lock = threading.Lock()

    @property
    def waits(self) -> bool:
        """Whether a call waits just now for a service that is away."""
        return self._waiting > 0

    def outlast(self, call: Callable[[], Answer]) -> Answer:
        """Return what a call returns that may be made again; raises StillAway in the end."""
        began = time.monotonic()
        try:
            return call()
        except (UnreachableDatabase, UnreachableStorage) as away:
            if not self.seconds:
                raise
            first = away
        self._begin(first)
        try:
            return self._again(call, began)
        finally:
            self._end(began)

    def _again(self, call: Callable[[], Answer], began: float) -> Answer:
        pause = _FIRST
        while True:
            left = self.seconds - (time.monotonic() - began)
            time.sleep(max(0.0, min(pause, left)))
            try:
                return call()
            except (UnreachableDatabase, UnreachableStorage) as away:
                if time.monotonic() - began >= self.seconds:
                    raise StillAway(fault=away, seconds=self.seconds) from None
            pause = min(2 * pause, _LONGEST)

    def _begin(self, away: HierdiffError) -> None:
        with self._lock:
            self._waiting += 1
            alone = self._waiting == 1
        if alone:
            log.warning("%s Trying again for up to %.0f s.", away, self.seconds)

    def _end(self, began: float) -> None:
        with self._lock:
            self._waiting -= 1
            alone = self._waiting == 0
        if alone:
            log.warning("No longer waiting, after %.0f s.", time.monotonic() - began)


AT_ONCE = Patience()  # tries once
