"""Seconds by stage, for the figures of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.states import Stage


@dataclass
class Stopwatch:
    """Adds up what stages take; a stage inside another one counts for itself alone."""

    seconds: dict[Stage, float] = field(default_factory=dict)
    _inner: float = 0.0  # seconds of stages inside the one that is being timed

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the block's seconds to a stage."""
        started, outer, self._inner = time.monotonic(), self._inner, 0.0
        try:
            yield
        finally:
            spent = time.monotonic() - started
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent - self._inner
            self._inner = outer + spent
