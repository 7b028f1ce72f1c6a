"""Holding a night or a subtree: a lease is taken, kept alive beside the work, and given back.

A worker that dies reports nothing; its lease runs out.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from hierdiff_core.errors import HierdiffError
from tasks.errors import LeaseLost, NightTaken, PoisonedSubtree
from tasks.ledger import (
    Night,
    claim_night,
    release_lease,
    release_night,
    renew_lease,
    take_lease,
)
from tasks.states import SubtreeState
from tasks.stores import Stores

log = logging.getLogger(__name__)

_CRASHES = 5  # in a row, after which a subtree is only run again by hand
_RENEWALS = 4  # while a lease lasts, so that a few may fail


@dataclass
class KeepAlive:
    """A lease that a thread keeps alive."""

    renew: Callable[[], object]
    seconds: float  # that the lease lasts
    _ended: threading.Event = field(default_factory=threading.Event)
    _lost: HierdiffError | None = None

    def check(self) -> None:
        """Raise LeaseLost or NightTaken where someone else has taken over."""
        if self._lost is not None:
            raise self._lost

    def keep(self) -> None:
        """Renew until the hold ends; the thread's body."""
        while not self._ended.wait(self.seconds / _RENEWALS):
            try:
                self.renew()
            except (LeaseLost, NightTaken) as lost:
                self._lost = lost
                return
            except HierdiffError as error:
                # The database may come back before the lease runs out; what is stored meanwhile
                # is right in any case, since objects live under the keys of their content.
                log.warning("The lease could not be renewed: %s", error)

    @contextmanager
    def kept(self) -> Iterator[KeepAlive]:
        """Renew during the block."""
        thread = threading.Thread(target=self.keep, name="lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()


@contextmanager
def leased_night(
    stores: Stores, catalogue: str, day: date, owner: str, seconds: float
) -> Iterator[Night]:
    """Hold a night for the block; raises NightTaken while another owner holds it."""

    def claim() -> Night:
        with stores.session() as session:
            return claim_night(session, catalogue, day, owner=owner, seconds=seconds)

    night = claim()
    try:
        with KeepAlive(claim, seconds).kept():
            yield night
    finally:
        with stores.session() as session:
            release_night(session, night.batch, owner)


@contextmanager
def leased_subtree(
    stores: Stores,
    run: uuid.UUID,
    shard: int,
    owner: str,
    seconds: float,
    flow_run_id: str | None = None,
) -> Iterator[KeepAlive]:
    """Hold a subtree for the block: completed at its end, failed with the error's line otherwise.

    Raises LeaseHeld, UnknownSubtree, and PoisonedSubtree after too many crashes in a row: it
    fails, and a retry by hand starts the count anew.
    """
    with stores.session() as session:
        lease = take_lease(session, run, shard, owner, seconds, flow_run_id=flow_run_id)

    def renew() -> None:
        with stores.session() as session:
            renew_lease(session, run, shard, owner, seconds)

    try:
        if lease.crashes >= _CRASHES:
            raise PoisonedSubtree(run=run, shard=shard, crashes=lease.crashes)
        with KeepAlive(renew, seconds).kept() as hold:
            yield hold
    except BaseException as error:
        _give_up(stores, run, shard, owner, error)
        raise
    with stores.session() as session:
        release_lease(session, run, shard, owner, SubtreeState.COMPLETED)


def _give_up(stores: Stores, run: uuid.UUID, shard: int, owner: str, error: BaseException) -> None:
    line = " ".join(str(error).split()) or "it was stopped"
    message = line if isinstance(error, HierdiffError) else f"{type(error).__name__}: {line}"
    try:
        with stores.session() as session:
            release_lease(session, run, shard, owner, SubtreeState.FAILED, message[:2000])
    except HierdiffError as also:
        # The error that ended the work is the one to see; the lease runs out by itself.
        log.warning("The lease could not be given back: %s", also)
