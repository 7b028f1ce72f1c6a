"""Holding a night or a subtree: a lease is taken, kept alive beside the work, and given back.

A worker that dies reports nothing; its lease runs out. One that was stopped, or cut off, finds on
its next step that it has lost its lease, takes no more steps and writes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from hierdiff_core.errors import HierdiffError
from tasks.errors import (
    LeaseHeld,
    LeaseLost,
    NightLost,
    NightTaken,
    PoisonedNight,
    PoisonedSubtree,
    RowsSetAside,
    WorkerStopped,
)
from tasks.holder import holding
from tasks.ledger import (
    Lease,
    Night,
    NightLease,
    claim_night,
    release_lease,
    release_night,
    renew_lease,
    renew_night,
    reopen_failures,
    take_lease,
    take_night,
)
from tasks.states import SubtreeState
from tasks.stores import Stores

log = logging.getLogger(__name__)

# How a subtree is given back where an error is no failure.
_ENDS: Mapping[type[HierdiffError], SubtreeState] = {
    RowsSetAside: SubtreeState.INCOMPLETE,
    WorkerStopped: SubtreeState.WAITING,
}
CRASHES = 5  # in a row, after which a subtree or a night is only run again by hand
_RENEWALS = 4  # while a lease lasts, so that a few may fail
# Seconds between renewals, at most: so soon a worker learns that it has lost its lease. Who takes a
# lease from a holder that may still live waits longer than that before its first step.
_LOOK = 1.0
_NOTICE = 2.0

Taken = TypeVar("Taken", Lease, NightLease)


@dataclass
class Hold:
    """A lease that a thread keeps alive; what its holder writes goes through it."""

    stores: Stores
    seconds: float  # that the lease lasts
    renew: Callable[[Session], object]  # raises LeaseLost or NightLost
    _until: float = 0.0  # monotonic time before which nobody else can have taken the lease
    again: bool = False  # whether there was an attempt before this one
    stop: threading.Event = field(default_factory=threading.Event)  # set: end with the next step
    _ended: threading.Event = field(default_factory=threading.Event)
    _lost: HierdiffError | None = None

    @property
    def lost(self) -> bool:
        """Whether someone else is known to have taken over."""
        return self._lost is not None

    def check(self) -> None:
        """Raise LeaseLost or NightLost where someone else has taken over.

        Asks the ledger where the lease may have run out: this process was stopped, or the ledger
        did not answer. Waits for it then; raises StillAway in the end.
        """
        if self._lost is None and time.monotonic() >= self._until:
            self.stores.patience.outlast(self.keep_on)
        if self._lost is not None:
            raise self._lost

    def check_stop(self) -> None:
        """Raise WorkerStopped where this process is to stop, and what `check` raises."""
        self.check()
        if self.stop.is_set():
            raise WorkerStopped()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction of the lease's holder; raises LeaseLost or NightLost, nothing written."""
        with self.stores.session() as session:
            self._try(session)
            yield session

    def keep_on(self) -> None:
        """Renew the lease once, now; raises what the ledger raises, but keeps to itself a loss."""
        began = time.monotonic()
        try:
            with self.stores.at_once.session() as session:
                self._try(session)
        except (LeaseLost, NightLost):
            return
        self._until = began + self.seconds

    def keep(self) -> None:
        """Renew until the hold ends; the thread's body."""
        warned = False
        while not self.lost and not self._ended.wait(min(_LOOK, self.seconds / _RENEWALS)):
            try:
                self.keep_on()
                warned = False
            except HierdiffError as error:
                # The ledger may come back before the lease runs out, and until then nobody else
                # can have it.
                if not warned:
                    log.warning("The lease could not be renewed: %s", error)
                warned = True

    @contextmanager
    def kept(self) -> Iterator[Hold]:
        """Renew during the block."""
        thread = threading.Thread(target=self.keep, name="lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _try(self, session: Session) -> None:
        try:
            self.renew(session)
        except (LeaseLost, NightLost) as lost:
            self._lost = lost
            raise


@contextmanager
def leased_night(
    stores: Stores, catalogue: str, day: date, owner: str, seconds: float
) -> Iterator[tuple[Night, Hold]]:
    """Hold a night for the block, and wait while another process of the same owner has it.

    Raises NightTaken while another owner holds it, and PoisonedNight after too many crashes in a
    row: it is given back, and a retry by hand starts the count anew.
    """

    def take(session: Session) -> NightLease:
        night = claim_night(session, catalogue, day)
        return take_night(session, night, owner, seconds, holder=holder)

    with holding() as holder:
        began, lease = _await(stores, take, owner)
        renew = partial(renew_night, lease=lease, seconds=seconds)
        hold = Hold(stores, seconds, renew, began + seconds)
        try:
            if lease.crashes >= CRASHES:
                raise PoisonedNight(catalogue=catalogue, date=day, crashes=lease.crashes)
            with hold.kept():
                yield lease.night, hold
        except BaseException:
            _give_back(stores, lambda session: release_night(session, lease))
            raise
        with stores.session() as session:
            release_night(session, lease)


@contextmanager
def leased_subtree(
    stores: Stores,
    run: uuid.UUID,
    shard: int,
    owner: str,
    seconds: float,
    flow_run_id: str | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Hold]:
    """Hold a subtree for the block: completed at its end, failed with the error's line otherwise.

    Rows that were set aside leave it incomplete, and WorkerStopped leaves it waiting. Waits while
    another process of the same owner holds it. Raises LeaseHeld while another owner does,
    UnknownSubtree, and PoisonedSubtree after too many crashes in a row: it fails, and a retry by
    hand starts the count anew.
    """

    def take(session: Session) -> Lease:
        lease = take_lease(
            session, run, shard, owner, seconds, holder=holder, flow_run_id=flow_run_id
        )
        reopen_failures(session, run, shard, crashed=lease.crashes > 0)
        return lease

    with holding() as holder:
        began, lease = _await(stores, take, owner)
        renew = partial(renew_lease, lease=lease, seconds=seconds)
        try:
            if lease.crashes >= CRASHES:
                raise PoisonedSubtree(run=run, shard=shard, crashes=lease.crashes)
            again = lease.attempts > 1
            stop = stop or threading.Event()
            with Hold(stores, seconds, renew, began + seconds, again, stop).kept() as hold:
                yield hold
        except BaseException as error:
            _give_up(stores, lease, error)
            raise
        with stores.session() as session:
            release_lease(session, lease, SubtreeState.COMPLETED)


def _await(stores: Stores, take: Callable[[Session], Taken], owner: str) -> tuple[float, Taken]:
    """Return a lease, and the monotonic time before it was taken."""
    waiting = False
    while True:
        began = time.monotonic()
        try:
            with stores.session() as session:
                lease = take(session)
        except (LeaseHeld, NightTaken) as held:
            if held.facts["owner"] != owner:
                raise
            if not waiting:
                log.warning("%s It is another process of the same flow run; waiting for it.", held)
            waiting = True
            time.sleep(_LOOK)
            continue
        if lease.silent:
            # Its former holder may live and learns of its loss within this time.
            time.sleep(_NOTICE)
        return began, lease


def _give_up(stores: Stores, lease: Lease, error: BaseException) -> None:
    if isinstance(error, LeaseLost):
        return  # the subtree is another's
    line = " ".join(str(error).split()) or "it was stopped"
    state = next((s for kind, s in _ENDS.items() if isinstance(error, kind)), SubtreeState.FAILED)
    message = line if isinstance(error, HierdiffError) else f"{type(error).__name__}: {line}"
    _give_back(stores, lambda session: release_lease(session, lease, state, message[:2000]))


def _give_back(stores: Stores, release: Callable[[Session], None]) -> None:
    """Release a lease after an error, at once: a database that is away was waited for already."""
    try:
        with stores.at_once.session() as session:
            release(session)
    except HierdiffError as also:
        # The error that ended the work is the one to see; the lease runs out by itself.
        log.warning("The lease could not be given back: %s", also)
