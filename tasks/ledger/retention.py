"""Retention: which nights are old, and which splits are beyond a size. Nothing is written here."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Uuid,
    all_,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased

from tasks.ledger.clock import after, now
from tasks.records import Batch, Catalogue, Run, SegmentRow, Subtree
from tasks.states import RunState

_OVER = (RunState.COMPLETED, RunState.REPLACED)  # states from which no night goes on


@dataclass(frozen=True, slots=True)
class OldNight:
    """A night that retention does not keep."""

    batch: int
    run: uuid.UUID | None
    catalogue: str
    business_date: date
    made: datetime


@dataclass(frozen=True, slots=True)
class IdleSplit:
    """An object of splits that retention does not keep."""

    sha256: str
    bytes: int
    made: datetime


def old_nights(session: Session, keep: int, settled: float) -> tuple[OldNight, ...]:
    """Return the nights before the latest `keep` completed ones of their catalogue, oldest first.

    The latest of them are those that were started last, whatever their dates. Never among the old
    ones are the completed night with a catalogue's last date, one that somebody works on, and one
    that was changed within `settled` seconds. Nights that others of their date have replaced stay
    as long as those.
    """
    dates = _dates(keep, settled).subquery()
    rows = session.execute(
        select(Batch.id, Run.id, Catalogue.name, Batch.business_date, Batch.created_at)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .outerjoin(Run, Run.batch_id == Batch.id)
        .join(
            dates,
            and_(
                dates.c.catalogue_id == Batch.catalogue_id,
                dates.c.business_date == Batch.business_date,
            ),
        )
        .order_by(Batch.id)
    )
    return tuple(OldNight(*row) for row in rows)


def idle_splits(
    session: Session, limit: int, going: Sequence[uuid.UUID] = ()
) -> Iterator[IdleSplit]:
    """Yield the objects of splits beyond so many bytes: those that led to nothing new for longest.

    Those that a night may still need count, and stay. Runs that are `going` do not count.
    """
    below = aliased(SegmentRow)
    used = func.max(func.coalesce(below.finished_at, SegmentRow.finished_at))
    splits = (
        select(
            SegmentRow.sha256,
            func.max(SegmentRow.bytes).label("bytes"),
            func.min(SegmentRow.finished_at).label("made"),
            used.label("used"),
            func.bool_or(is_open()).label("open"),
        )
        .join(Run, Run.id == SegmentRow.run_id)
        .outerjoin(
            below, and_(below.run_id == SegmentRow.run_id, below.parent == SegmentRow.segment)
        )
        .where(SegmentRow.sha256.is_not(None), SegmentRow.stop < Run.steps)
        .where(SegmentRow.run_id != all_(_runs(going)))
        .group_by(SegmentRow.sha256)
        .subquery()
    )
    order = (splits.c.open.desc(), splits.c.used.desc().nulls_last(), splits.c.sha256)
    total = func.sum(splits.c.bytes).over(order_by=order, rows=(None, 0)).label("total")
    ranked = select(splits, total).subquery()
    idle = select(ranked.c.sha256, ranked.c.bytes, ranked.c.made)
    idle = idle.where(ranked.c.total > limit, ~ranked.c.open).order_by(ranked.c.total.desc())
    for row in session.execute(idle.execution_options(yield_per=1000)):
        yield IdleSplit(*row)


def is_leased() -> ColumnElement[bool]:
    """Whether somebody works on a batch or on its run, where both stand in a statement."""
    subtree = select(Subtree.shard).where(Subtree.run_id == Run.id, Subtree.lease_until > now())
    return func.coalesce(Batch.lease_until > now(), False) | subtree.exists()


def is_open() -> ColumnElement[bool]:
    """Whether a run may still need its splits: it is not over, or somebody works on it."""
    subtree = select(Subtree.shard).where(Subtree.run_id == Run.id, Subtree.lease_until > now())
    return or_(Run.state.not_in(_OVER), subtree.exists())


def _dates(keep: int, settled: float) -> Select[Any]:
    """Return the statement for the catalogues and dates whose nights are old."""
    completed = and_(Batch.replaced_at.is_(None), Run.state == RunState.COMPLETED)
    changed = func.greatest(Batch.created_at, Batch.replaced_at, Run.created_at, Run.finished_at)
    dates = (
        select(
            Batch.catalogue_id,
            Batch.business_date,
            func.max(Batch.id).label("latest"),
            func.coalesce(func.bool_or(completed), False).label("completed"),
            func.bool_or(is_leased()).label("leased"),
            func.max(changed).label("changed"),
        )
        .outerjoin(Run, Run.batch_id == Batch.id)
        .group_by(Batch.catalogue_id, Batch.business_date)
        .subquery()
    )
    here, latest_first = dates.c.catalogue_id, dates.c.latest.desc()
    done = func.sum(cast(dates.c.completed, Integer))
    newer = done.over(partition_by=here, order_by=latest_first, rows=(None, -1))
    last = func.max(dates.c.business_date).filter(dates.c.completed).over(partition_by=here)
    ranked = select(dates, newer.label("newer"), last.label("last")).subquery()
    return select(ranked.c.catalogue_id, ranked.c.business_date).where(
        ranked.c.newer >= keep,
        ranked.c.business_date != ranked.c.last,
        ~ranked.c.leased,
        ranked.c.changed <= after(-settled),
    )


def _runs(runs: Sequence[uuid.UUID]) -> Any:
    return literal(list(runs), ARRAY(Uuid))
