"""Segments: which are started and which are done, the ground that a restart stands on.

Store the object first, then call `finish_segments`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Text, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from tasks.errors import UnknownRun
from tasks.ledger.clock import now
from tasks.records import SegmentRow
from tasks.states import SegmentState


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment whose end state is in the object store."""

    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The object that holds a segment's end state."""

    sha256: str
    bytes: int


def start_segments(session: Session, run: uuid.UUID, segments: Iterable[int]) -> None:
    """Mark segments as running; one that was done, perhaps by an earlier run, is done anew."""
    session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == any_(_numbers(segments)))
        .values(
            state=SegmentState.RUNNING,
            attempts=SegmentRow.attempts + 1,
            reused=False,
            sha256=None,
            bytes=None,
            finished_at=None,
        )
        .execution_options(synchronize_session=False)
    )


def finish_segments(session: Session, run: uuid.UUID, stored: Mapping[int, Stored]) -> None:
    """Mark segments as done, their objects being stored; raises UnknownRun."""
    done = _enter(session, run, stored, state=SegmentState.DONE, finished_at=now())
    if done != len(stored):
        raise UnknownRun(run=run)


def park_segments(session: Session, run: uuid.UUID, stored: Mapping[int, Stored]) -> None:
    """Mark segments as left between two steps, their states so far being stored."""
    _enter(session, run, stored, state=SegmentState.PARKED)


def _enter(session: Session, run: uuid.UUID, stored: Mapping[int, Stored], **values: object) -> int:
    """Enter what objects hold, with other values; return how many segments were found."""
    objects = (
        func.unnest(
            _numbers(stored),
            literal([each.sha256 for each in stored.values()], ARRAY(Text)),
            literal([each.bytes for each in stored.values()], ARRAY(BigInteger)),
        )
        .table_valued("segment", "sha256", "bytes", name="stored")
        .render_derived()
    )
    entered = session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == objects.c.segment)
        .values(sha256=objects.c.sha256, bytes=objects.c.bytes, **values)
        .returning(SegmentRow.segment)
        .execution_options(synchronize_session=False)
    ).all()
    return len(entered)


def stored_segments(
    session: Session, run: uuid.UUID, shards: Iterable[int] | None = None
) -> dict[int, StoredSegment]:
    """Return the segments that are done, of some shards or of all."""
    wanted = SegmentRow.state == SegmentState.DONE
    if shards is not None:
        wanted &= SegmentRow.shard == any_(_numbers(shards))
    return _stored(session, run, wanted)


def parked_segments(session: Session, run: uuid.UUID, shard: int) -> dict[int, StoredSegment]:
    """Return the segments of a shard that were left between two steps."""
    parked = SegmentRow.state == SegmentState.PARKED
    held = SegmentRow.sha256.is_not(None)  # or `forget` has removed it
    return _stored(session, run, parked & held & (SegmentRow.shard == shard))


def _stored(
    session: Session, run: uuid.UUID, which: ColumnElement[bool]
) -> dict[int, StoredSegment]:
    columns = (SegmentRow.segment, SegmentRow.key, SegmentRow.sha256)
    wanted = select(*columns).where(SegmentRow.run_id == run, which).order_by(SegmentRow.segment)
    rows = session.execute(wanted)
    return {segment: StoredSegment(key, sha256 or "") for segment, key, sha256 in rows}


def _numbers(numbers: Iterable[int]) -> Any:
    return literal(list(numbers), ARRAY(Integer))


def reused_segments(session: Session, run: uuid.UUID) -> set[int]:
    """Return the segments of a run that an earlier one had finished."""
    reused = select(SegmentRow.segment).where(SegmentRow.run_id == run, SegmentRow.reused)
    return set(session.execute(reused).scalars())
