"""Holding a subtree: its lease is taken, kept alive beside the work, and given back.

Knows threads and leases; knows nothing of the work. A worker that dies says nothing, and its
lease runs out.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hierdiff_core.errors import HierdiffError
from tasks.errors import LeaseLost, PoisonedSubtree
from tasks.ledger import release_lease, renew_lease, take_lease
from tasks.states import SubtreeState
from tasks.stores import Stores

log = logging.getLogger(__name__)

_CRASHES = 5  # in a row, after which a subtree is not run again without a person's word
_RENEWALS = 4  # while a lease lasts, so that a few may fail


@dataclass
class Hold:
    """A lease that a thread keeps alive."""

    stores: Stores
    run: uuid.UUID
    shard: int
    owner: str
    seconds: float
    _ended: threading.Event = field(default_factory=threading.Event)
    _lost: LeaseLost | None = None

    def check(self) -> None:
        """Raise LeaseLost where someone else has taken over."""
        if self._lost is not None:
            raise self._lost

    def keep(self) -> None:
        """Renew until the hold ends; the thread's body."""
        while not self._ended.wait(self.seconds / _RENEWALS):
            try:
                with self.stores.session() as session:
                    renew_lease(session, self.run, self.shard, self.owner, self.seconds)
            except LeaseLost as lost:
                self._lost = lost
                return
            except HierdiffError as error:
                # The database may come back before the lease runs out; what is stored meanwhile
                # is right in any case, since objects live under the keys of their content.
                log.warning("The lease could not be renewed: %s", error)

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()


@contextmanager
def held(
    stores: Stores,
    run: uuid.UUID,
    shard: int,
    owner: str,
    seconds: float,
    flow_run_id: str | None = None,
) -> Iterator[Hold]:
    """Hold a subtree for the block: completed at its end, failed with the error's line otherwise.

    Raises LeaseHeld, UnknownSubtree, and PoisonedSubtree after too many crashes in a row: it
    fails, and a retry by hand starts the count anew.
    """
    with stores.session() as session:
        lease = take_lease(session, run, shard, owner, seconds, flow_run_id=flow_run_id)
    hold = Hold(stores, run, shard, owner, seconds)
    thread = threading.Thread(target=hold.keep, name=f"lease-{shard}", daemon=True)
    thread.start()
    try:
        if lease.crashes >= _CRASHES:
            raise PoisonedSubtree(run=run, shard=shard, crashes=lease.crashes)
        yield hold
    except BaseException as error:
        _give_up(hold, thread, error)
        raise
    hold.end()
    thread.join()
    with stores.session() as session:
        release_lease(session, run, shard, owner, SubtreeState.COMPLETED)


def _give_up(hold: Hold, thread: threading.Thread, error: BaseException) -> None:
    hold.end()
    thread.join()
    line = " ".join(str(error).split()) or "it was stopped"
    said = line if isinstance(error, HierdiffError) else f"{type(error).__name__}: {line}"
    try:
        with hold.stores.session() as session:
            release_lease(
                session, hold.run, hold.shard, hold.owner, SubtreeState.FAILED, said[:2000]
            )
    except HierdiffError as also:
        # The error that ended the work is the one to see; the lease runs out by itself.
        log.warning("The lease could not be given back: %s", also)
