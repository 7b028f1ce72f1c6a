"""Repair: what turned out missing or useless is taken back, so that a retry makes it again."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import any_, delete, insert, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Integer

from tasks.records import ImageRow, PromptRow, RejectedRow, SegmentRow, Subtree
from tasks.rejected import Rejected
from tasks.states import SegmentState, SubtreeState


def reject_prompts(session: Session, batch: int, rejected: Sequence[Rejected]) -> None:
    """Move rows that were taken, but turned out useless, to the rejected ones."""
    if not rejected:
        return
    rows = any_(literal([each.row for each in rejected], ARRAY(Integer)))
    session.execute(delete(PromptRow).where(PromptRow.batch_id == batch, PromptRow.row == rows))
    faults = [{"batch_id": batch, "row": each.row, "reason": each.reason} for each in rejected]
    session.execute(insert(RejectedRow), faults)


def forget_images(session: Session, run: uuid.UUID, leaves: Iterable[int]) -> None:
    """Take back pictures whose objects are gone; the subtrees that make them are open again."""
    gone = any_(literal(list(leaves), ARRAY(Integer)))
    session.execute(delete(ImageRow).where(ImageRow.run_id == run, ImageRow.leaf == gone))


def forget_previews(session: Session, run: uuid.UUID, segments: Iterable[int]) -> None:
    """Take back previews whose objects are damaged or gone."""
    gone = any_(literal(list(segments), ARRAY(Integer)))
    session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == gone)
        .values(preview=None)
    )


def forget_segment(session: Session, run: uuid.UUID, segment: int) -> None:
    """Take back a segment whose checkpoint is of no use; it waits to be done again."""
    session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == segment)
        .values(state=SegmentState.WAITING, reused=False, sha256=None, bytes=None, finished_at=None)
    )


def reopen_subtrees(session: Session, run: uuid.UUID, shards: Iterable[int]) -> None:
    """Let completed subtrees be run again; those that are held or failed stay as they are."""
    wanted = any_(literal(list(shards), ARRAY(Integer)))
    session.execute(
        update(Subtree)
        .where(
            Subtree.run_id == run,
            Subtree.shard == wanted,
            Subtree.state == SubtreeState.COMPLETED,
        )
        .values(state=SubtreeState.WAITING)
    )


def shards_of(session: Session, run: uuid.UUID, segments: Iterable[int]) -> set[int]:
    """Return the shards that segments belong to."""
    wanted = any_(literal(list(segments), ARRAY(Integer)))
    rows = select(SegmentRow.shard).where(SegmentRow.run_id == run, SegmentRow.segment == wanted)
    return set(session.execute(rows.distinct()).scalars())
