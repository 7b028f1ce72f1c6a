"""Limits of a source: what is longer, larger or slower is refused and never waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass

LINE = 1_000_000  # characters of a line, and of a row that takes several


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one source may take at most."""

    megabytes: int = 1000
    seconds: float = 300.0
    rows: int = 1_000_000


class Allowance:
    """The time that a source may still take; what its reader does meanwhile does not count."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._spent = limits, 0.0
        self._since: float | None = None  # when the source was asked, while it has not answered

    def start(self) -> float:
        """Begin to wait; return the seconds that are left."""
        self._since = time.monotonic()
        return max(self._limits.seconds - self._spent, 0.0)

    def stop(self) -> None:
        """Note the answer."""
        if self._since is not None:
            self._spent += time.monotonic() - self._since
            self._since = None

    @property
    def is_over(self) -> bool:
        """Whether the source has taken more than its time."""
        waiting = 0.0 if self._since is None else time.monotonic() - self._since
        return self._spent + waiting > self._limits.seconds

    @property
    def reason(self) -> str:
        """Why a source that takes longer is given up."""
        return f"it did not end within {self._limits.seconds:g} s; raise HIERDIFF_SOURCE_SECONDS"
