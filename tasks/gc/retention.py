"""Retention: what is kept, as the settings say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.settings import Settings

# Seconds for which things are left alone: an object whose row is still to be written, a night that
# has just ended. The clocks of servers differ by much less.
SETTLED = 24 * 3600.0
_IDLE = 7  # times as long an embedding that no plan names is still expected to be used


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept."""

    nights: int  # completed ones of each catalogue
    bytes: int | None = None  # of splits; None: all of those nights
    settled: float = SETTLED  # seconds for which everything is kept
    strangers: bool = False  # whether nights that the ledger does not know go, too

    @property
    def before(self) -> datetime:
        """The time before which an object must have been stored to go."""
        return datetime.now(UTC) - timedelta(seconds=self.settled)

    @property
    def idle(self) -> float:
        """The seconds for which an embedding that no plan names is kept."""
        return _IDLE * self.settled


def read_retention(settings: Settings, *, strangers: bool = False) -> Retention:
    """Return what the settings keep."""
    limit = settings.keep_gigabytes
    size = None if limit is None else round(limit * 1e9)
    return Retention(settings.keep_nights, size, SETTLED, strangers)
