"""The standing forest: what the runs of all nights have stored of a recipe.

Equal segments have equal keys in every run; where several runs have one, a run that has it stored
tells, the latest first.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Row, Text, and_, any_, exists, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased

from hierdiff_core.bypass import bypass
from hierdiff_core.plan import Plan
from hierdiff_core.planners import PlanSettings
from hierdiff_core.standing import Founder, StandingForest, StandingSegment, make_standing
from tasks.ledger.clock import now
from tasks.ledger.plans import load_plan
from tasks.ledger.stored_plan import NightPlan
from tasks.records import Batch, Catalogue, LeafRow, Run, SegmentRow, Subtree, TreeRow
from tasks.states import COMING, SegmentState


def load_standing(session: Session, recipes: Collection[str]) -> dict[str, StandingForest]:
    """Return what stands of recipes, by compatibility key.

    What a night under way is making counts as coming, so that another one with equal rows waits for
    it, or takes it over. A recipe of which nothing is stored is left out: of two nights of equal
    rows at once both are then planned from nothing, so that each finds what the other makes.
    """
    rows: dict[str, list[Row[Any]]] = {}
    for row in session.execute(_segments(recipes)):
        rows.setdefault(row.compatibility_key, []).append(row)
    runs = {row.run_id for found in rows.values() for row in found}
    founders, detours = {run: _Founders(session, run) for run in runs}, _detours(session, runs)
    return {
        recipe: make_standing(_read(row, founders[row.run_id], detours) for row in found)
        for recipe, found in rows.items()
        if any(row.stored for row in found)
    }


def find_like(session: Session, catalogue: str, settings: PlanSettings) -> Plan | None:
    """Return planner and threshold of a catalogue's latest run for the same budget or bound.

    The plan has no segments. None where there is no such run.
    """
    budget = settings.budget
    asked = (budget.saving, budget.steps_per_image, None if budget.is_set else settings.loss)
    runs = (
        select(Run, Batch.settings)
        .join(Batch, Batch.id == Run.batch_id)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .where(Catalogue.name == catalogue)
        .order_by(Run.created_at.desc())
        .limit(1)
    )
    found = session.execute(runs).one_or_none()
    if found is None:
        return None
    run, recorded = found
    loss = None if budget.is_set else (recorded or {}).get("loss")
    if (run.saving_asked, run.steps_per_image, loss) != asked:
        return None
    return Plan(run.steps, (), (), run.planner, run.linkage, run.tau, run.price)


def _segments(recipes: Collection[str]) -> Any:
    """Return the statement for one row of each key, stored ones and later runs before others."""
    above = aliased(SegmentRow)
    coming = and_(_under_way(), SegmentRow.state.in_(COMING))
    stored = and_(SegmentRow.state == SegmentState.DONE, SegmentRow.sha256.is_not(None))
    return (
        select(
            TreeRow.compatibility_key,
            SegmentRow.run_id,
            SegmentRow.segment,
            SegmentRow.key,
            above.key.label("parent"),
            SegmentRow.start,
            SegmentRow.stop,
            SegmentRow.first,
            SegmentRow.last,
            SegmentRow.founders,
            stored.label("stored"),
            coming.label("coming"),
            SegmentRow.finished_at,
            (SegmentRow.stop == Run.steps).label("ends"),
        )
        .join(TreeRow, and_(TreeRow.run_id == SegmentRow.run_id, TreeRow.index == SegmentRow.tree))
        .join(Run, Run.id == SegmentRow.run_id)
        .outerjoin(
            above, and_(above.run_id == SegmentRow.run_id, above.segment == SegmentRow.parent)
        )
        .where(TreeRow.compatibility_key == any_(literal(list(recipes), ARRAY(Text))))
        .distinct(SegmentRow.key)
        .order_by(SegmentRow.key, stored.desc(), coming.desc(), Run.created_at.desc())
    )


def _under_way() -> ColumnElement[bool]:
    """Whether somebody holds the night of a run, or one of its subtrees."""
    subtree = exists().where(Subtree.run_id == Run.id, Subtree.lease_until > now())
    night = exists().where(Batch.id == Run.batch_id, Batch.lease_until > now())
    return or_(subtree, night)


class _Founders:
    """The leaves of one run, and which of them steer its segments."""

    def __init__(self, session: Session, run: uuid.UUID) -> None:
        self.order = session.execute(select(Run.plan_order).where(Run.id == run)).scalar_one()
        columns = (LeafRow.content_key, LeafRow.embedding_key, LeafRow.text_key)
        leaves = session.execute(
            select(*columns).where(LeafRow.run_id == run).order_by(LeafRow.leaf)
        ).all()
        # One object each, since large clusters name most leaves again and again.
        self.own = [Founder(leaf.content_key, leaf.embedding_key) for leaf in leaves]
        self.first = [
            Founder(leaf.text_key, leaf.embedding_key) if leaf.text_key else own
            for leaf, own in zip(leaves, self.own, strict=True)
        ]

    def of(self, row: Row[Any]) -> Iterable[Founder]:
        """Return who steers a segment; variants of a text steer as its first picture would."""
        numbers = self.order[row.first : row.last] if row.founders is None else row.founders
        return map((self.own if row.ends else self.first).__getitem__, numbers)


def _detours(session: Session, runs: Collection[uuid.UUID]) -> dict[uuid.UUID, NightPlan]:
    """Return the plans that went around clusters which failed, as they were carried out."""
    failed = select(SegmentRow.run_id, SegmentRow.segment).join(Run, Run.id == SegmentRow.run_id)
    clusters: dict[uuid.UUID, set[int]] = {}
    for run, segment in session.execute(
        failed.where(
            SegmentRow.run_id.in_(runs),
            SegmentRow.state == SegmentState.FAILED,
            SegmentRow.stop < Run.steps,
        )
    ):
        clusters.setdefault(run, set()).add(segment)
    nights = {run: load_plan(session, run) for run in clusters}
    return {
        run: replace(night, plan=bypass(night.plan, clusters[run])) for run, night in nights.items()
    }


def _read(
    row: Row[Any], founders: _Founders, detours: Mapping[uuid.UUID, NightPlan]
) -> StandingSegment:
    start, parent = row.start, row.parent
    if row.run_id in detours:
        night = detours[row.run_id]
        segment = night.plan.segments[row.segment]
        start = segment.start
        parent = None if segment.parent is None else night.keys[segment.parent]
    made = row.finished_at.timestamp() if row.finished_at else 0.0
    steered = tuple(founders.of(row))
    span = (row.key, parent, start, row.stop)
    return StandingSegment(*span, steered, row.stored, row.coming, made)
