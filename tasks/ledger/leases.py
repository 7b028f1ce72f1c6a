"""Leases: one worker at a time for each subtree, and a dead worker's subtree falls free.

A lease belongs to one attempt of one process. Its number, that of the attempt, grows with every
taker and is checked where the ledger is written: a worker that was silent for longer than its lease
counts as gone, and should it wake up, it can write no more.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, cast

from sqlalchemy import ColumnElement, and_, case, func, select, update
from sqlalchemy.orm import Session

from tasks.errors import LeaseHeld, LeaseLost, UnknownSubtree
from tasks.holder import is_gone
from tasks.ledger.clock import after, now, seconds_until
from tasks.ledger.starts import forget_starts
from tasks.records import Subtree
from tasks.states import SubtreeState


@dataclass(frozen=True, slots=True)
class Lease:
    """A subtree that is held, until it is released or runs out."""

    run: uuid.UUID
    shard: int
    owner: str
    until: datetime
    attempts: int  # this one included; the number of this lease
    crashes: int  # in a row, just before this attempt
    silent: bool  # whether it was taken from a holder that may still live


def take_lease(
    session: Session,
    run: uuid.UUID,
    shard: int,
    owner: str,
    seconds: float,
    *,
    holder: str = "",
    flow_run_id: str | None = None,
) -> Lease:
    """Take a subtree that is free, run out, or of a holder that is gone; it counts as running.

    `owner` is a name for people, `holder` that of an attempt (`tasks.holder`). Raises LeaseHeld
    while another attempt holds it, of whatever owner, and UnknownSubtree.
    """
    columns = (Subtree.lease_owner, Subtree.lease_holder, seconds_until(Subtree.lease_until))
    # Of two takers at once the second waits here for the first, then finds the row no longer free.
    found = session.execute(select(*columns).where(_is(run, shard)).with_for_update()).one_or_none()
    if found is None:
        raise UnknownSubtree(run=run, shard=shard)
    former, former_holder, left = found
    silent = former is not None and not is_gone(former_holder or "")
    if silent and left > 0:
        raise LeaseHeld(run=run, shard=shard, owner=former, seconds=left)
    until, attempts, crashes = session.execute(
        update(Subtree)
        .where(_is(run, shard))
        .values(
            state=SubtreeState.RUNNING,
            lease_owner=owner,
            lease_holder=holder,
            lease_until=after(seconds),
            flow_run_id=func.coalesce(flow_run_id, Subtree.flow_run_id),
            attempts=Subtree.attempts + 1,
            # Whoever had it never released it: that attempt crashed.
            crashes=case((Subtree.state == SubtreeState.RUNNING, Subtree.crashes + 1), else_=0),
            error=None,
            started_at=func.coalesce(Subtree.started_at, now()),
            finished_at=None,
        )
        .returning(Subtree.lease_until, Subtree.attempts, Subtree.crashes)
        .execution_options(synchronize_session=False)
    ).one()
    if flow_run_id is not None:
        forget_starts(session, flow_run_id)
    return Lease(run, shard, owner, cast(datetime, until), attempts, crashes, silent)


def lease_end(session: Session, run: uuid.UUID, shard: int) -> datetime | None:
    """Return the time at which a subtree's lease runs out; None where nobody holds it."""
    return session.execute(
        select(Subtree.lease_until).where(_is(run, shard), Subtree.lease_owner.is_not(None))
    ).scalar()


def renew_lease(session: Session, lease: Lease, seconds: float) -> datetime:
    """Hold a subtree for longer and return until when; raises LeaseLost.

    Until the transaction ends nobody else can take it, so what is written in it is its holder's.
    """
    until = session.execute(
        update(Subtree)
        .where(_holds(lease))
        .values(lease_until=after(seconds))
        .returning(Subtree.lease_until)
        .execution_options(synchronize_session=False)
    ).scalar()
    return until if until is not None else _lost(lease)


def release_lease(
    session: Session, lease: Lease, state: SubtreeState, error: str | None = None
) -> None:
    """Give a subtree back as completed, failed or waiting; raises LeaseLost."""
    given_back = session.execute(
        update(Subtree)
        .where(_holds(lease))
        .values(
            state=state,
            lease_owner=None,
            lease_holder=None,
            lease_until=None,
            error=error,
            finished_at=now(),
        )
        .returning(Subtree.shard)
        .execution_options(synchronize_session=False)
    ).scalar()
    if given_back is None:
        _lost(lease)


def _is(run: uuid.UUID, shard: int) -> ColumnElement[bool]:
    return and_(Subtree.run_id == run, Subtree.shard == shard)


def _holds(lease: Lease) -> ColumnElement[bool]:
    number = and_(Subtree.attempts == lease.attempts, Subtree.lease_owner.is_not(None))
    return and_(_is(lease.run, lease.shard), number)


def _lost(lease: Lease) -> NoReturn:
    raise LeaseLost(run=lease.run, shard=lease.shard, owner=lease.owner)
