"""Failures: which segments failed alone or were in flight when their worker died, and why.

A segment that failed waits to be tried once more, after everything else and alone; one that has
failed too often, or in the attempt that is under way, is set aside.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, Text, any_, case, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from hierdiff_core.prompt import name_picture
from tasks.records import LeafRow, PromptRow, Run, SegmentRow, Subtree
from tasks.states import SegmentState

MOST = 3  # failures after which a segment is not tried again
KILLED = "its worker's process ended while it was under way"


@dataclass(frozen=True, slots=True)
class SegmentFailure:
    """A segment that has failed and is not done."""

    failures: int
    reason: str  # of the last one
    set_aside: bool  # or it waits to be tried again


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row without a picture, since its segment has failed alone."""

    row: int
    reference: str
    shard: int
    failures: int
    reason: str

    def __str__(self) -> str:
        named = f" ({self.reference})" if self.reference else ""
        return f"row {self.row}{named}: {self.reason}"


def fail_segments(session: Session, run: uuid.UUID, reasons: Mapping[int, str]) -> None:
    """Set segments aside, each with the reason why it failed alone."""
    given = _texts(reasons)
    session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == given.c.segment)
        .values(state=SegmentState.FAILED, failures=SegmentRow.failures + 1, reason=given.c.value)
        .execution_options(synchronize_session=False)
    )


def reopen_failures(session: Session, run: uuid.UUID, shard: int, *, crashed: bool) -> None:
    """Begin an attempt at a subtree: what may be tried again waits, with its failures counted.

    Where the attempt before it crashed, all that was in flight may be to blame; what was in flight
    so often that it is set aside makes the next crash the first one in a row.
    """
    mine = (SegmentRow.run_id == run, SegmentRow.shard == shard)
    running = SegmentRow.state == SegmentState.RUNNING
    if crashed:
        failures = SegmentRow.failures + 1
        blamed = session.execute(
            update(SegmentRow)
            .where(*mine, running)
            .values(
                failures=failures,
                reason=KILLED,
                state=case(
                    (failures >= MOST, SegmentState.FAILED.value), else_=SegmentState.WAITING.value
                ),
            )
            .returning(SegmentRow.failures)
            .execution_options(synchronize_session=False)
        ).scalars()
        if any(each >= MOST for each in blamed):
            here = (Subtree.run_id == run, Subtree.shard == shard)
            session.execute(update(Subtree).where(*here).values(crashes=0))
    leaf = SegmentRow.stop == select(Run.steps).where(Run.id == run).scalar_subquery()
    again = (SegmentRow.state == SegmentState.FAILED) & (SegmentRow.failures < MOST) & leaf
    session.execute(
        update(SegmentRow)
        .where(*mine, again | running)
        .values(state=SegmentState.WAITING)
        .execution_options(synchronize_session=False)
    )


def load_failures(session: Session, run: uuid.UUID) -> dict[int, SegmentFailure]:
    """Return the segments of a run that have failed and are not done."""
    columns = (SegmentRow.segment, SegmentRow.failures, SegmentRow.reason, SegmentRow.state)
    failed = select(*columns).where(
        SegmentRow.run_id == run, SegmentRow.failures > 0, SegmentRow.state != SegmentState.DONE
    )
    return {
        segment: SegmentFailure(failures, reason or "", state is SegmentState.FAILED)
        for segment, failures, reason, state in session.execute(failed)
    }


def change_keys(session: Session, run: uuid.UUID, keys: Mapping[int, str]) -> None:
    """Give segments other keys, since they go around a cluster; those that are done keep theirs."""
    given = _texts(keys)
    session.execute(
        update(SegmentRow)
        .where(
            SegmentRow.run_id == run,
            SegmentRow.segment == given.c.segment,
            SegmentRow.state != SegmentState.DONE,
        )
        .values(key=given.c.value)
        .execution_options(synchronize_session=False)
    )


def list_set_aside(session: Session, run: uuid.UUID) -> tuple[SetAside, ...]:
    """Return the rows whose own segments are set aside, in their order."""
    columns = (SegmentRow.first, SegmentRow.shard, SegmentRow.failures, SegmentRow.reason)
    failed = session.execute(
        select(*columns)
        .join(Run, Run.id == SegmentRow.run_id)
        .where(
            SegmentRow.run_id == run,
            SegmentRow.state == SegmentState.FAILED,
            SegmentRow.stop == Run.steps,
        )
    ).all()
    if not failed:
        return ()
    order = session.execute(select(Run.plan_order).where(Run.id == run)).scalar_one()
    leaves = {order[row.first]: row for row in failed}
    prompts = _prompts(session, run, list(leaves))
    found = [
        SetAside(
            prompt.row,
            name_picture(prompt.reference, prompt.number),
            row.shard,
            row.failures,
            row.reason or "",
        )
        for leaf, row in leaves.items()
        for prompt in prompts[leaf]
    ]
    return tuple(sorted(found, key=lambda each: each.row))


def _prompts(session: Session, run: uuid.UUID, leaves: list[int]) -> Mapping[int, list[Any]]:
    rows = session.execute(
        select(LeafRow.leaf, PromptRow.row, PromptRow.reference, PromptRow.number)
        .join(Run, Run.id == LeafRow.run_id)
        .join(
            PromptRow,
            (PromptRow.batch_id == Run.batch_id) & (PromptRow.content_key == LeafRow.content_key),
        )
        .where(LeafRow.run_id == run, LeafRow.leaf == any_(literal(leaves, ARRAY(Integer))))
    )
    prompts: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        prompts[row.leaf].append(row)
    return prompts


def _texts(texts: Mapping[int, str]) -> Any:
    """Return a table of segments and texts."""
    return (
        func.unnest(
            literal(list(texts), ARRAY(Integer)), literal(list(texts.values()), ARRAY(Text))
        )
        .table_valued("segment", "value", name="given")
        .render_derived()
    )
