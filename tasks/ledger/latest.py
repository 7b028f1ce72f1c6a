"""The latest night of every catalogue, and what all nights take in the bucket: for a monitor."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from tasks.ledger.clock import now
from tasks.records import Batch, Catalogue, ImageRow, Run, SegmentRow, Subtree
from tasks.states import RunState, SegmentState, SubtreeState


@dataclass(frozen=True, slots=True)
class LatestNight:
    """A catalogue's latest night; it has no run until it is planned."""

    catalogue: str
    business_date: date
    created_at: datetime
    run: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Held:
    """The leases of one kind that are held now."""

    kind: str  # night or subtree
    leases: int
    run_out: int  # of these, that nobody renewed: their process is gone
    oldest: float  # seconds since the first of them was taken; 0 where there is none


@dataclass(frozen=True, slots=True)
class Kept:
    """The distinct objects of one kind that the ledger names."""

    kind: str  # picture or split
    objects: int
    size: int  # bytes


def latest_nights(session: Session) -> tuple[LatestNight, ...]:
    """Return the night of the last date of each catalogue, by the catalogue's name."""
    rows = session.execute(
        select(Catalogue.name, Batch.business_date, Batch.created_at, Run.id)
        .join(Batch, Batch.catalogue_id == Catalogue.id)
        .join(Run, Run.batch_id == Batch.id, isouter=True)
        .where(Batch.replaced_at.is_(None))
        .distinct(Catalogue.name)
        .order_by(Catalogue.name, Batch.business_date.desc())
    )
    return tuple(LatestNight(*row) for row in rows)


def count_waiting(session: Session) -> int:
    """Return how many subtrees of nights that go on wait for a worker."""
    return session.execute(
        select(func.count())
        .select_from(Subtree)
        .join(Run, Run.id == Subtree.run_id)
        .where(
            Subtree.state == SubtreeState.WAITING,
            Run.state.in_((RunState.PLANNED, RunState.RUNNING)),
        )
    ).scalar_one()


def count_leases(session: Session) -> tuple[Held, ...]:
    """Return the leases on nights and on subtrees."""
    return (
        _held(session, "night", Batch, Batch.created_at),
        _held(session, "subtree", Subtree, Subtree.started_at),
    )


def count_objects(session: Session) -> tuple[Kept, ...]:
    """Return the pictures and the splits that the ledger names, each object once."""
    pictures = select(ImageRow.key, ImageRow.bytes).distinct(ImageRow.key)
    splits = (
        select(SegmentRow.key, SegmentRow.bytes)
        .join(Run, Run.id == SegmentRow.run_id)
        .where(SegmentRow.state == SegmentState.DONE, SegmentRow.stop < Run.steps)
        .distinct(SegmentRow.key)
    )
    return _kept(session, "picture", pictures), _kept(session, "split", splits)


def _held(
    session: Session, kind: str, table: type[Batch | Subtree], since: InstrumentedAttribute[Any]
) -> Held:
    age = func.max(func.extract("epoch", now() - since))
    counts = (func.count(), func.count().filter(table.lease_until < now()), age)
    leases, run_out, oldest = session.execute(
        select(*counts).where(table.lease_until.is_not(None))
    ).one()
    return Held(kind, leases, run_out, float(oldest or 0))


def _kept(session: Session, kind: str, objects: Select[Any]) -> Kept:
    each = objects.subquery()
    count, size = session.execute(
        select(func.count(), func.sum(each.c.bytes)).select_from(each)
    ).one()
    return Kept(kind, count, int(size or 0))
