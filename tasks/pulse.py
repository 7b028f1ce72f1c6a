"""The pulse of a subtree: whether whoever runs it still says so.

A node that is lost takes its flow runs with it. Prefect learns of that by heartbeats, the least
frequent of which are half a minute apart; a night that waits for the subtree sees it in seconds.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hierdiff_core.errors import HierdiffError
from tasks.ledger import lease_end, open_subtrees
from tasks.stores import Stores

SILENCE = 10.0  # seconds: a lease is renewed each second, and a flow run ends soon after its work


@dataclass
class Pulse:
    """Looks at a running subtree in the ledger; the ledger's own absence is no silence."""

    stores: Stores
    run: uuid.UUID
    shard: int
    _sign: datetime | Literal["all is stored"] | None = None
    _since: float = 0.0

    def is_silent(self) -> bool:
        """Return whether for a while its lease is held and not renewed, or all of it is stored.

        In the latter case its flow run has come to its end but does not say so.
        """
        sign = self._look()
        if sign is None or sign != self._sign:
            self._sign, self._since = sign, time.monotonic()
        return sign is not None and time.monotonic() - self._since > SILENCE

    def _look(self) -> datetime | Literal["all is stored"] | None:
        try:
            with self.stores.at_once.session() as session:
                end = lease_end(session, self.run, self.shard)
                if end is None and self.shard not in open_subtrees(session, self.run):
                    return "all is stored"
                return end
        except HierdiffError:
            return None
