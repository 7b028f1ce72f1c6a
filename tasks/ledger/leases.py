"""Leases: one worker at a time for each subtree, and a dead worker's subtree falls free.

A worker that is silent for longer than its lease counts as gone; should it wake up, it finds its
lease lost, and what it stored meanwhile is right all the same, since objects live under the keys of
their content.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, cast

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from tasks.errors import LeaseHeld, LeaseLost, UnknownSubtree
from tasks.ledger.clock import after, now, seconds_until
from tasks.records import Subtree
from tasks.states import SubtreeState


@dataclass(frozen=True, slots=True)
class Lease:
    """A subtree that is held, until it is renewed, released or runs out."""

    run: uuid.UUID
    shard: int
    owner: str
    until: datetime
    attempts: int  # this one included
    crashes: int  # in a row, just before this attempt


def take_lease(
    session: Session,
    run: uuid.UUID,
    shard: int,
    owner: str,
    seconds: float,
    *,
    flow_run_id: str | None = None,
) -> Lease:
    """Take a subtree that is free, run out or one's own; it counts as running from now on.

    Raises LeaseHeld while another owner holds it, UnknownSubtree.
    """
    free = or_(
        Subtree.lease_owner.is_(None), Subtree.lease_owner == owner, Subtree.lease_until <= now()
    )
    # Of two takers at once the second waits for the first, then finds the row no longer free.
    taken = session.execute(
        update(Subtree)
        .where(_is(run, shard), free)
        .values(
            state=SubtreeState.RUNNING,
            lease_owner=owner,
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
    ).one_or_none()
    if taken is None:
        holder, left = _holder(session, run, shard)
        raise LeaseHeld(run=run, shard=shard, owner=holder, seconds=max(left or 0.0, 0.0))
    return Lease(run, shard, owner, cast(datetime, taken[0]), taken[1], taken[2])


def renew_lease(
    session: Session, run: uuid.UUID, shard: int, owner: str, seconds: float
) -> datetime:
    """Hold a subtree for longer and return until when; raises LeaseLost, UnknownSubtree."""
    until = session.execute(
        update(Subtree)
        .where(_is(run, shard), Subtree.lease_owner == owner)
        .values(lease_until=after(seconds))
        .returning(Subtree.lease_until)
        .execution_options(synchronize_session=False)
    ).scalar()
    if until is None:
        _lost(session, run, shard, owner)
    return until


def release_lease(
    session: Session,
    run: uuid.UUID,
    shard: int,
    owner: str,
    state: SubtreeState,
    error: str | None = None,
) -> None:
    """Give a subtree back as completed, failed or waiting; raises LeaseLost, UnknownSubtree."""
    given_back = session.execute(
        update(Subtree)
        .where(_is(run, shard), Subtree.lease_owner == owner)
        .values(state=state, lease_owner=None, lease_until=None, error=error, finished_at=now())
        .returning(Subtree.shard)
        .execution_options(synchronize_session=False)
    ).scalar()
    if given_back is None:
        _lost(session, run, shard, owner)


def _is(run: uuid.UUID, shard: int) -> ColumnElement[bool]:
    return and_(Subtree.run_id == run, Subtree.shard == shard)


def _lost(session: Session, run: uuid.UUID, shard: int, owner: str) -> NoReturn:
    _holder(session, run, shard)
    raise LeaseLost(run=run, shard=shard, owner=owner)


def _holder(session: Session, run: uuid.UUID, shard: int) -> tuple[str | None, float | None]:
    columns = (Subtree.lease_owner, seconds_until(Subtree.lease_until))
    row = session.execute(select(*columns).where(_is(run, shard))).one_or_none()
    if row is None:
        raise UnknownSubtree(run=run, shard=shard)
    return row[0], row[1]
