"""The summary: all figures of a run, for a status, a report or a bill."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from hierdiff_core.recipe import Recipe
from tasks.errors import UnknownRun
from tasks.ledger.claims import load_rejected
from tasks.ledger.energy import PartEnergy, load_energy
from tasks.ledger.failures import SetAside, list_set_aside
from tasks.ledger.rejected_often import list_rejected_often
from tasks.losses import Losses, sum_up
from tasks.records import (
    Batch,
    Catalogue,
    ImageRow,
    LeafRow,
    PromptRow,
    Run,
    RunMetric,
    SegmentRow,
    Subtree,
    TreeRow,
)
from tasks.rejected import Rejected, RejectedOften
from tasks.remake import TIMES
from tasks.saving import Spending
from tasks.states import RunState, SegmentState, SubtreeState


@dataclass(frozen=True, slots=True)
class SubtreeLine:
    """A subtree as a status shows it."""

    shard: int  # 0 is the trunk
    state: SubtreeState
    attempts: int
    flow_run_id: str | None
    lease_owner: str | None
    lease_until: datetime | None
    evaluations_planned: int
    evaluations_done: int
    evaluations_resumed: int
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class RunSummary:
    """A run with its figures, as they stand now."""

    run: uuid.UUID
    batch: int
    catalogue: str
    business_date: date
    state: RunState
    recipe: Recipe
    planner: str
    linkage: str | None  # of the paper's trees
    tau: float | None
    price: float | None  # of an evaluation, in predicted excess
    saving_asked: float | None
    steps_per_image: float | None
    tuned: str | None  # the catalogue's own setting, in words, where it was planned by that
    flow_run_id: str | None  # of the parent, the one to retry
    created_at: datetime
    finished_at: datetime | None
    prompts: int  # good rows, duplicates included
    images: int  # stored so far
    images_expected: int  # distinct pictures
    evaluations_planned: int
    evaluations_standard: int  # without sharing
    evaluations_done: int  # on a device, repeated ones included
    evaluations_resumed: int  # found done by the latest attempts
    evaluations_reused: int  # of these, done by an earlier run
    images_kept: int  # made by an earlier run
    trees: int
    segments: int
    segments_done: int
    seconds: Mapping[str, float]  # by stage, summed over workers
    devices: Mapping[str, str]  # by stage
    details: Mapping[str, Mapping[str, object]]  # by stage
    energy: tuple[PartEnergy, ...]  # of its workers so far
    subtrees: tuple[SubtreeLine, ...]
    rejected: tuple[Rejected, ...]
    set_aside: tuple[SetAside, ...]  # rows whose pictures failed alone
    rejected_often: tuple[RejectedOften, ...]  # rows that wait for a person
    losses: Losses | None  # predicted; None where nothing predicts them
    bound: float | None  # HIERDIFF_LOSS as the night was asked for

    @property
    def saving(self) -> float:
        """Share of evaluations that the plan spares."""
        return 1 - self.evaluations_planned / self.evaluations_standard

    @property
    def spending(self) -> Spending:
        """The evaluations planned and spent."""
        spent = self.evaluations_done + self.evaluations_reused
        return Spending(self.evaluations_planned, self.evaluations_standard, spent)

    @property
    def images_missing(self) -> int:
        """Pictures that a retry still has to make."""
        return self.images_expected - self.images


def summarise(session: Session, run: uuid.UUID) -> RunSummary:
    """Return a run's figures; raises UnknownRun."""
    row = session.execute(_facts(run)).one_or_none()
    if row is None:
        raise UnknownRun(run=run)
    facts: Run = row.Run
    metrics = session.execute(select(RunMetric).where(RunMetric.run_id == run)).scalars().all()
    subtrees = _subtrees(session, run)
    segments, segments_done, reused, kept = session.execute(_segments(run, facts.steps)).one()
    return RunSummary(
        run=run,
        batch=facts.batch_id,
        catalogue=row.name,
        business_date=row.business_date,
        state=facts.state,
        recipe=Recipe.from_json(facts.recipe),
        planner=facts.planner,
        linkage=facts.linkage,
        tau=facts.tau,
        price=facts.price,
        saving_asked=facts.saving_asked,
        steps_per_image=facts.steps_per_image,
        tuned=facts.tuned,
        flow_run_id=facts.flow_run_id,
        created_at=facts.created_at,
        finished_at=facts.finished_at,
        prompts=_count(session, select(PromptRow.id).filter_by(batch_id=facts.batch_id)),
        images=_count(session, select(ImageRow.leaf).where(ImageRow.run_id == run)),
        images_expected=facts.leaves,
        evaluations_planned=facts.evaluations_planned,
        evaluations_standard=facts.evaluations_standard,
        evaluations_done=sum(each.evaluations_done for each in subtrees),
        evaluations_resumed=sum(each.evaluations_resumed for each in subtrees),
        evaluations_reused=reused,
        images_kept=kept,
        trees=_count(session, select(TreeRow.index).where(TreeRow.run_id == run)),
        segments=segments,
        segments_done=segments_done,
        seconds={each.stage: each.seconds for each in metrics},
        devices={each.stage: each.device for each in metrics},
        details={each.stage: each.details for each in metrics},
        energy=load_energy(session, run),
        subtrees=subtrees,
        rejected=load_rejected(session, facts.batch_id),
        set_aside=list_set_aside(session, run),
        rejected_often=list_rejected_often(
            session, run, facts.batch_id, row.name, TIMES if row.most is None else row.most
        ),
        losses=_losses(session, run, facts.leaves, row.bound),
        bound=row.bound,
    )


def _facts(run: uuid.UUID) -> Select[tuple[Run, str, date, float, int]]:
    bound = Batch.settings["loss"].as_float().label("bound")
    most = Batch.settings["remakes"].as_integer().label("most")
    return (
        select(Run, Catalogue.name, Batch.business_date, bound, most)
        .join(Batch, Batch.id == Run.batch_id)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .where(Run.id == run)
        .execution_options(populate_existing=True)
    )


def _losses(session: Session, run: uuid.UUID, leaves: int, bound: float | None) -> Losses | None:
    pictures = (LeafRow.run_id == run, LeafRow.leaf < leaves)
    return sum_up(session.execute(select(LeafRow.loss).where(*pictures)).scalars().all(), bound)


def _segments(run: uuid.UUID, steps: int) -> Select[tuple[int, int, int, int]]:
    done = SegmentRow.state == SegmentState.DONE
    reused = func.coalesce(
        func.sum(SegmentRow.stop - SegmentRow.start).filter(done, SegmentRow.reused), 0
    )
    kept = func.count().filter(done, SegmentRow.reused, SegmentRow.stop == steps)
    counts = (func.count(), func.count().filter(done), reused, kept)
    return select(*counts).where(SegmentRow.run_id == run)


def _subtrees(session: Session, run: uuid.UUID) -> tuple[SubtreeLine, ...]:
    columns = (getattr(Subtree, name) for name in SubtreeLine.__dataclass_fields__)
    rows = session.execute(select(*columns).where(Subtree.run_id == run).order_by(Subtree.shard))
    return tuple(SubtreeLine(*row) for row in rows)


def _count(session: Session, rows: Select[tuple[int]]) -> int:
    return session.execute(select(func.count()).select_from(rows.subquery())).scalar_one()
