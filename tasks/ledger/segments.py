"""Segments: which are started and which are done, the ground that a restart stands on.

Knows states and checksums; knows nothing of latents. Store the object first, then call
`finish_segment`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, any_, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from tasks.errors import UnknownRun
from tasks.ledger.clock import now
from tasks.records import SegmentRow
from tasks.states import SegmentState


@dataclass(frozen=True, slots=True)
class Finished:
    """A segment whose end state is in the object store."""

    key: str
    sha256: str


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


def finish_segment(session: Session, run: uuid.UUID, segment: int, sha256: str, size: int) -> None:
    """Mark a segment as done, its object of `size` bytes being stored; raises UnknownRun."""
    done = session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == segment)
        .values(state=SegmentState.DONE, sha256=sha256, bytes=size, finished_at=now())
        .returning(SegmentRow.segment)
        .execution_options(synchronize_session=False)
    ).scalar()
    if done is None:
        raise UnknownRun(run=run)


def finished(
    session: Session, run: uuid.UUID, shards: Iterable[int] | None = None
) -> dict[int, Finished]:
    """Return the segments that are done, of some shards or of all."""
    columns = (SegmentRow.segment, SegmentRow.key, SegmentRow.sha256)
    done = select(*columns).where(SegmentRow.run_id == run, SegmentRow.state == SegmentState.DONE)
    if shards is not None:
        done = done.where(SegmentRow.shard == any_(_numbers(shards)))
    rows = session.execute(done.order_by(SegmentRow.segment))
    return {segment: Finished(key, sha256 or "") for segment, key, sha256 in rows}


def _numbers(numbers: Iterable[int]) -> Any:
    return literal(list(numbers), ARRAY(Integer))
