"""Leases of nights: one process at a time carries a night out, as one worker does a subtree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from tasks.errors import NightLost, NightTaken
from tasks.holder import is_gone
from tasks.ledger.claims import Night
from tasks.ledger.clock import after, seconds_until
from tasks.ledger.starts import forget_starts
from tasks.records import Batch


@dataclass(frozen=True, slots=True)
class NightLease:
    """A night that is held, until it is released or runs out."""

    night: Night
    owner: str
    attempts: int  # this one included; the number of this lease
    silent: bool  # whether it was taken from a holder that may still live
    crashes: int  # in a row, just before this attempt


def take_night(
    session: Session, night: Night, owner: str, seconds: float, *, holder: str = ""
) -> NightLease:
    """Take a night that is free, run out, or of a holder that is gone; see `take_lease`.

    Raises NightTaken while another attempt holds it.
    """
    columns = (Batch.lease_owner, Batch.lease_holder, seconds_until(Batch.lease_until))
    batch = Batch.id == night.batch
    row = select(*columns).where(batch, Batch.replaced_at.is_(None)).with_for_update()
    found = session.execute(row).one_or_none()
    # None: it was replaced while this waited for the row.
    former, former_holder, left = found or ("the start that replaced it", None, 1.0)
    silent = former is not None and not is_gone(former_holder or "")
    if silent and left > 0:
        raise NightTaken(
            catalogue=night.catalogue, date=night.business_date, owner=former, seconds=left
        )
    values: dict[str, Any] = {"lease_owner": owner, "lease_holder": holder}
    values |= {"lease_until": after(seconds), "attempts": Batch.attempts + 1}
    # Whoever had it never gave it back: that attempt crashed.
    values |= {"crashes": Batch.crashes + 1 if former is not None else 0}
    taken = update(Batch).where(batch).values(**values).returning(Batch.attempts, Batch.crashes)
    attempts, crashes = session.execute(taken.execution_options(synchronize_session=False)).one()
    forget_starts(session, owner)  # a night's owner is its flow run
    return NightLease(night, owner, attempts, silent, crashes)


def renew_night(session: Session, lease: NightLease, seconds: float) -> None:
    """Hold a night for longer; raises NightLost."""
    renewed = update(Batch).where(_holds(lease)).values(lease_until=after(seconds))
    done = session.execute(
        renewed.returning(Batch.id).execution_options(synchronize_session=False)
    ).scalar()
    if done is None:
        night = lease.night
        raise NightLost(catalogue=night.catalogue, date=night.business_date, owner=lease.owner)


def release_night(session: Session, lease: NightLease) -> None:
    """Let go of a night; does nothing where someone else holds it by now."""
    nobody = {"lease_owner": None, "lease_holder": None, "lease_until": None}
    session.execute(
        update(Batch)
        .where(_holds(lease))
        .values(**nobody)
        .execution_options(synchronize_session=False)
    )


def _holds(lease: NightLease) -> ColumnElement[bool]:
    held = and_(Batch.attempts == lease.attempts, Batch.lease_owner.is_not(None))
    return and_(Batch.id == lease.night.batch, held)
