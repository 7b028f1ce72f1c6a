"""Claims on segments: of two runs at once with an equal segment, one makes it.

A claim is the number of its subtree's lease, beside the segment: it holds while that lease does,
and needs nobody to take it back.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased

from tasks.ledger.clock import now
from tasks.records import SegmentRow, Subtree
from tasks.states import COMING, SegmentState

# Claims take turns on this number; it means nothing but must never change.
_TURN = 0x68696564


@dataclass(frozen=True, slots=True)
class SegmentClaims:
    """What has become of segments that a subtree wants to make."""

    found: frozenset[int]  # made by another run meanwhile, and done here, too
    busy: frozenset[int]  # being made by another run now


def claim_segments(
    session: Session,
    run: uuid.UUID,
    shard: int,
    wanted: Collection[int],
    damaged: Collection[int] = (),
) -> SegmentClaims:
    """Claim wanted segments for a subtree whose lease is held, as far as no other run makes them.

    Those that another run has made are done at once, but for those whose object was `damaged` and
    those that are asked for anew.
    """
    session.execute(select(func.pg_advisory_xact_lock(_TURN)))
    # In this order, what its maker ends between the two looks is seen by both, never by neither.
    busy = _busy(session, run, wanted)
    found = _adopt(session, run, set(wanted) - set(damaged))
    left, busy = set(wanted) - found, busy - found
    number = select(Subtree.attempts).where(Subtree.run_id == run, Subtree.shard == shard)
    session.execute(
        update(SegmentRow)
        .where(_of(run, left - busy), SegmentRow.shard == shard)
        .values(claim=number.scalar_subquery())
        .execution_options(synchronize_session=False)
    )
    return SegmentClaims(frozenset(found), frozenset(busy))


def _adopt(session: Session, run: uuid.UUID, wanted: Collection[int]) -> set[int]:
    other, mine = aliased(SegmentRow), aliased(SegmentRow)
    done = (
        select(mine.segment, other.sha256, other.bytes, other.preview, other.finished_at)
        .join(other, and_(other.key == mine.key, other.run_id != mine.run_id))
        .where(mine.run_id == run, mine.segment == _numbers(wanted))
        .where(mine.state != SegmentState.DONE, other.state == SegmentState.DONE, ~mine.anew)
        .where(other.sha256.is_not(None))
        .distinct(mine.segment)
        .order_by(mine.segment, other.finished_at.desc())
        .subquery()
    )
    adopted = session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == done.c.segment)
        .values(
            state=SegmentState.DONE,
            reused=True,
            sha256=done.c.sha256,
            bytes=done.c.bytes,
            preview=done.c.preview,
            finished_at=done.c.finished_at,
        )
        .returning(SegmentRow.segment)
        .execution_options(synchronize_session=False)
    )
    return set(adopted.scalars())


def _busy(session: Session, run: uuid.UUID, wanted: Collection[int]) -> set[int]:
    other, mine = aliased(SegmentRow), aliased(SegmentRow)
    held = and_(
        Subtree.run_id == other.run_id,
        Subtree.shard == other.shard,
        Subtree.attempts == other.claim,
        Subtree.lease_owner.is_not(None),
        Subtree.lease_until > now(),
    )
    rows = (
        select(mine.segment)
        .join(other, and_(other.key == mine.key, other.run_id != mine.run_id))
        .join(Subtree, held)
        .where(mine.run_id == run, mine.segment == _numbers(wanted))
        .where(other.state.in_(COMING), ~mine.anew)
    )
    return set(session.execute(rows.distinct()).scalars())


def _of(run: uuid.UUID, segments: Collection[int]) -> ColumnElement[bool]:
    return and_(SegmentRow.run_id == run, SegmentRow.segment == _numbers(segments))


def _numbers(segments: Collection[int]) -> Any:
    return any_(literal(sorted(segments), ARRAY(Integer)))
