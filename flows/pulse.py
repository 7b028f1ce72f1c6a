"""The pulse of a subtree: whether whoever holds its lease still renews it.

A node that is lost takes its flow runs with it. Prefect learns of that by heartbeats, the least
frequent of which are half a minute apart; a night that waits for the subtree sees it in seconds.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime

from hierdiff_core.errors import HierdiffError
from tasks.ledger import lease_end
from tasks.stores import Stores

SILENCE = 10.0  # seconds without a renewal, of which there is one each second


@dataclass
class Pulse:
    """Looks at a subtree's lease; the ledger's own absence is no silence."""

    stores: Stores
    run: uuid.UUID
    shard: int
    _end: datetime | None = None
    _since: float = 0.0

    def is_silent(self) -> bool:
        """Return whether a lease is held and has not been renewed for a while."""
        try:
            with self.stores.at_once.session() as session:
                end = lease_end(session, self.run, self.shard)
        except HierdiffError:
            end = None
        if end is None or end != self._end:
            self._end, self._since = end, time.monotonic()
        return end is not None and time.monotonic() - self._since > SILENCE
