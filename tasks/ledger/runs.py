"""Runs: finding them, moving them to another state, and the seconds of their stages.

`summary` puts the figures of a run together.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Float, Select, Text, and_, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tasks.errors import UnknownRun
from tasks.ledger.clock import now
from tasks.records import Batch, Catalogue, ImageRow, Run, RunMetric, SegmentRow, Subtree, TreeRow
from tasks.states import RunState, Stage, SubtreeState

_ENDED = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED})
_OPEN = (RunState.PLANNED, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run as a list shows it."""

    run: uuid.UUID
    catalogue: str
    business_date: date
    state: RunState
    images: int  # stored so far
    leaves: int  # distinct pictures wanted
    created_at: datetime
    finished_at: datetime | None


def find_run(session: Session, name: str = "latest") -> uuid.UUID:
    """Return the run of that id, of the only id that starts so, or the latest one.

    Raises UnknownRun.
    """
    if name == "latest":
        found = list(session.execute(select(Run.id).order_by(Run.created_at.desc()).limit(1)))
    else:
        start = cast(Run.id, Text).startswith(name.lower(), autoescape=True)
        found = list(session.execute(select(Run.id).where(start).limit(2)))
    if not name or len(found) != 1:
        raise UnknownRun(run=name)
    return uuid.UUID(str(found[0].id))


def latest_run(session: Session, catalogue: str, before: date | None = None) -> uuid.UUID | None:
    """Return a catalogue's latest run that was not replaced, or the one before a date, if any."""
    runs = (
        select(Run.id)
        .join(Batch, Batch.id == Run.batch_id)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .where(Catalogue.name == catalogue, Batch.replaced_at.is_(None))
        .order_by(Batch.business_date.desc())
        .limit(1)
    )
    if before is not None:
        runs = runs.where(Batch.business_date < before)
    return session.execute(runs).scalar()


def catalogue_of_run(session: Session, run: uuid.UUID) -> str:
    """Return the name of the catalogue that a run's night is one of; raises UnknownRun."""
    named = (
        select(Catalogue.name)
        .join(Batch, Batch.catalogue_id == Catalogue.id)
        .join(Run, Run.batch_id == Batch.id)
    )
    found = session.execute(named.where(Run.id == run)).scalar()
    if found is None:
        raise UnknownRun(run=run)
    return found


def list_runs(session: Session, limit: int = 20) -> tuple[RunLine, ...]:
    """Return the latest runs, the newest first."""
    return tuple(RunLine(*row) for row in session.execute(_lines().limit(limit)))


def note_flow_run(session: Session, run: uuid.UUID, flow_run_id: str) -> None:
    """Note which flow run carries a run out: the one that a retry sets going again."""
    session.execute(update(Run).where(Run.id == run).values(flow_run_id=flow_run_id))


def find_night_run(session: Session, flow_run_id: str) -> uuid.UUID | None:
    """Return the run that a flow run carries out, or None where it has not come that far."""
    return session.execute(select(Run.id).where(Run.flow_run_id == flow_run_id)).scalar()


def find_recipe(session: Session, run: uuid.UUID) -> dict[str, Any] | None:
    """Return the recipe that a run was planned with, or None where there is no such run."""
    return session.execute(select(Run.recipe).where(Run.id == run)).scalar()


def seconds_per_pixel(session: Session, model_revision: str) -> float | None:
    """Return the mean seconds of an evaluation for each pixel of its picture.

    They are those of the latest run of these weights; None where there is none.
    """
    evaluations = func.sum(Subtree.evaluations_done)
    row = session.execute(
        select(Run.id, RunMetric.seconds, evaluations)
        .join(Run, Run.id == RunMetric.run_id)
        .join(Subtree, Subtree.run_id == Run.id)
        .where(RunMetric.stage == Stage.DENOISE, Run.recipe["revision"].astext == model_revision)
        .group_by(Run.id, RunMetric.seconds)
        .having(evaluations > 0)
        .order_by(Run.created_at.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    run, seconds, done = row
    return float(seconds) / (int(done) * session.execute(_mean_pixels(run)).scalar_one())


def _mean_pixels(run: uuid.UUID) -> Select[tuple[float]]:
    """Return the query for the pixels of a run's pictures, in the mean over its evaluations."""
    steps = SegmentRow.stop - SegmentRow.start
    sides = (cast(TreeRow.recipe[side].astext, Float) for side in ("width", "height"))
    pixels = next(sides) * next(sides)
    tree = (TreeRow.run_id == SegmentRow.run_id, TreeRow.index == SegmentRow.tree)
    return (
        select(cast(func.sum(steps * pixels) / func.sum(steps), Float))
        .join(TreeRow, and_(*tree))
        .where(SegmentRow.run_id == run)
    )


def note_published(session: Session, run: uuid.UUID, manifest: str, report: str | None) -> None:
    """Note the sha256 of a run's manifest and of its report, None where that was removed."""
    noted = update(Run).where(Run.id == run)
    session.execute(noted.values(manifest_sha256=manifest, report_sha256=report))


def find_published(session: Session, run: uuid.UUID) -> tuple[str | None, str | None]:
    """Return the sha256 of a run's manifest and report, where they are known."""
    columns = (Run.manifest_sha256, Run.report_sha256)
    row = session.execute(select(*columns).where(Run.id == run)).one_or_none()
    if row is None:
        raise UnknownRun(run=run)
    return row.manifest_sha256, row.report_sha256


def set_run_state(session: Session, run: uuid.UUID, state: RunState) -> None:
    """Move a run on; raises UnknownRun."""
    moved = session.execute(
        update(Run)
        .where(Run.id == run)
        .values(state=state, finished_at=now() if state in _ENDED else None)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if moved is None:
        raise UnknownRun(run=run)


def end_run(session: Session, flow_run_id: str, state: RunState) -> uuid.UUID | None:
    """Note that the flow run of a run has ended; return the run, or None where it has none open.

    A run that has ended already stays as it is.
    """
    return session.execute(
        update(Run)
        .where(Run.flow_run_id == flow_run_id, Run.state.in_(_OPEN))
        .values(state=state, finished_at=now())
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).scalar()


def find_carrier(session: Session, run: uuid.UUID) -> tuple[RunState, str | None]:
    """Return a run's state and the flow run that carries it out; raises UnknownRun."""
    row = session.execute(select(Run.state, Run.flow_run_id).where(Run.id == run)).one_or_none()
    if row is None:
        raise UnknownRun(run=run)
    return row.state, row.flow_run_id


def open_subtrees(session: Session, run: uuid.UUID) -> tuple[int, ...]:
    """Return the shards that are not completed; the trunk, 0, must be run before the others."""
    unfinished = select(Subtree.shard).where(
        Subtree.run_id == run, Subtree.state != SubtreeState.COMPLETED
    )
    return tuple(session.execute(unfinished.order_by(Subtree.shard)).scalars())


def unattended_runs(session: Session, most: int) -> dict[str, uuid.UUID]:
    """Return runs that have not ended and whose night nobody holds, by flow run, latest first."""
    held = and_(Batch.lease_owner.is_not(None), Batch.lease_until > now())
    rows = session.execute(
        select(Run.flow_run_id, Run.id)
        .join(Batch, Batch.id == Run.batch_id)
        .where(Run.state.in_(_OPEN), Run.flow_run_id.is_not(None), ~held)
        .order_by(Run.created_at.desc())
        .limit(most)
    )
    return {str(flow_run): run for flow_run, run in rows}


def add_evaluations(session: Session, run: uuid.UUID, shard: int, *, done: int) -> None:
    """Count evaluations that a device has done for a subtree, in this attempt or another."""
    session.execute(
        update(Subtree)
        .where(Subtree.run_id == run, Subtree.shard == shard)
        .values(evaluations_done=Subtree.evaluations_done + done)
        .execution_options(synchronize_session=False)
    )


def note_progress(session: Session, run: uuid.UUID, shard: int) -> None:
    """Note that an attempt has finished something: the next crash is the first one in a row."""
    session.execute(
        update(Subtree)
        .where(Subtree.run_id == run, Subtree.shard == shard, Subtree.crashes > 0)
        .values(crashes=0)
        .execution_options(synchronize_session=False)
    )


def note_resumed(session: Session, run: uuid.UUID, shard: int, evaluations: int) -> None:
    """Note how many evaluations the latest attempt at a subtree found done already."""
    session.execute(
        update(Subtree)
        .where(Subtree.run_id == run, Subtree.shard == shard)
        .values(evaluations_resumed=evaluations)
        .execution_options(synchronize_session=False)
    )


def record_metric(
    session: Session,
    run: uuid.UUID,
    stage: Stage,
    seconds: float,
    *,
    device: str = "",
    details: Mapping[str, object] | None = None,
) -> None:
    """Add seconds to a stage of a run; device and details are those of the latest call."""
    new = insert(RunMetric).values(
        run_id=run, stage=stage, seconds=seconds, device=device, details=dict(details or {})
    )
    session.execute(
        new.on_conflict_do_update(
            index_elements=[RunMetric.run_id, RunMetric.stage],
            set_={
                "seconds": RunMetric.seconds + new.excluded.seconds,
                "device": new.excluded.device,
                "details": new.excluded.details,
            },
        )
    )


def find_slots(session: Session, run: uuid.UUID) -> int | None:
    """Return the slots that a run has been given, or None before its first worker."""
    return session.execute(select(Run.slots).where(Run.id == run)).scalar()


def keep_slots(session: Session, run: uuid.UUID, slots: int) -> int:
    """Give a run its slots, unless another worker was first; return those that it has."""
    session.execute(update(Run).where(Run.id == run, Run.slots.is_(None)).values(slots=slots))
    kept = find_slots(session, run)
    return slots if kept is None else kept


def _lines() -> Select[tuple[uuid.UUID, str, date, RunState, int, int, datetime, datetime | None]]:
    images = (
        select(func.count())
        .select_from(ImageRow)
        .where(ImageRow.run_id == Run.id)
        .scalar_subquery()
    )
    columns = (Run.id, Catalogue.name, Batch.business_date, Run.state, images, Run.leaves)
    return (
        select(*columns, Run.created_at, Run.finished_at)
        .join(Batch, Batch.id == Run.batch_id)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .order_by(Run.created_at.desc())
    )
