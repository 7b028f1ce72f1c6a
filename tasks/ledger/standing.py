"""The standing forest: what the runs of all nights have stored of a recipe.

Equal segments have equal keys in every run; where several runs have one, a run that has it stored
tells, the latest first.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Text,
    Uuid,
    and_,
    any_,
    column,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, array_agg
from sqlalchemy.orm import Session, aliased

from hierdiff_core.bypass import bypass
from hierdiff_core.plan import Plan
from hierdiff_core.planners import PlanSettings
from hierdiff_core.standing import Founder, Ids, StandingForest, arrange
from tasks.ledger.clock import now
from tasks.ledger.plans import load_plan
from tasks.ledger.stored_plan import NightPlan
from tasks.records import Batch, Catalogue, LeafRow, Run, SegmentRow, Subtree, TreeRow
from tasks.states import COMING, SegmentState


def load_standing(
    session: Session, recipes: Collection[str], pictures: Collection[str]
) -> dict[str, StandingForest]:
    """Return what stands of recipes, by compatibility key: splits, and some pictures.

    Those are named by their content keys; a night needs none but its own. What a night under way is
    making counts as coming, so that another one with equal rows waits for it, or takes it over. A
    recipe of which nothing is stored is left out: of two nights of equal rows at once both are then
    planned from nothing, so that each finds what the other makes.
    """
    rows = list(session.execute(_segments(recipes).where(SegmentRow.stop < Run.steps)))
    ends = _find_leaves(session, pictures)
    runs = {row.run_id for row in rows} | ends.keys()
    steered = _load_founders(session, runs)
    rows += session.execute(_ends(recipes, steered, ends))
    detours = _detours(session, runs)
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.compatibility_key, []).append(row)
    return {
        recipe: _arrange(segments, steered, detours)
        for recipe, segments in found.items()
        if any(row.stored for row in segments)
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


def _find_leaves(session: Session, content_keys: Collection[str]) -> dict[uuid.UUID, list[int]]:
    """Return the leaves of some content keys by their run."""
    wanted = LeafRow.content_key == any_(literal(list(content_keys), ARRAY(Text)))
    found: dict[uuid.UUID, list[int]] = {}
    for run, leaf in session.execute(select(LeafRow.run_id, LeafRow.leaf).where(wanted)):
        found.setdefault(run, []).append(leaf)
    return found


def _ends(
    recipes: Collection[str],
    founders: Mapping[uuid.UUID, _Founders],
    leaves: Mapping[uuid.UUID, Sequence[int]],
) -> Any:
    """Return the statement for the segments that end in the pictures of some leaves."""
    places = [(run, place) for run, some in leaves.items() for place in founders[run].places(some)]
    runs, firsts = zip(*places, strict=True) if places else ((), ())
    wanted = (
        func.unnest(literal(list(runs), ARRAY(Uuid)), literal(list(firsts), ARRAY(Integer)))
        .table_valued(column("run_id", Uuid), column("first", Integer))
        .render_derived("wanted")
    )
    here = and_(wanted.c.run_id == SegmentRow.run_id, wanted.c.first == SegmentRow.first)
    return _segments(recipes).join(wanted, here).where(SegmentRow.stop == Run.steps)


def _under_way() -> ColumnElement[bool]:
    """Whether somebody holds the night of a run, or one of its subtrees."""
    subtree = exists().where(Subtree.run_id == Run.id, Subtree.lease_until > now())
    night = exists().where(Batch.id == Run.batch_id, Batch.lease_until > now())
    return or_(subtree, night)


class _Founders:
    """The leaves of one run, and which of them steer its segments."""

    def __init__(
        self,
        order: Sequence[int],
        content_keys: Sequence[str],
        embedding_keys: Sequence[str],
        text_keys: Sequence[str | None],
    ) -> None:
        self.order = np.array(order, np.int64)
        own = steering = list(map(Founder, content_keys, embedding_keys))
        if any(text_keys):
            keys = (text or own for text, own in zip(text_keys, content_keys, strict=True))
            steering = list(map(Founder, keys, embedding_keys))
        self.prompts = (own, steering)
        self.numbers = (self.order, self.order)  # of the prompts, own and steering, in a forest

    def places(self, leaves: Sequence[int]) -> list[int]:
        """Return where some leaves are in the order; founders that want no picture are not."""
        inverse = np.empty(len(self.order), np.int64)
        inverse[self.order] = np.arange(len(self.order))
        return [int(inverse[leaf]) for leaf in leaves if leaf < len(inverse)]

    def number(self, places: dict[Founder, int]) -> None:
        """Number the prompts on from those that have a place."""

        def number_all(prompts: Sequence[Founder]) -> Ids:
            return np.array([places.setdefault(each, len(places)) for each in prompts], np.int64)

        own, steering = self.prompts
        numbers = number_all(own)
        self.numbers = (numbers, numbers if steering is own else number_all(steering))

    def of(self, row: Row[Any]) -> Ids:
        """Return who steers a segment; variants of a text steer as its first picture would."""
        own, steering = self.numbers
        leaves = self.order[row.first : row.last] if row.founders is None else row.founders
        return (own if row.ends else steering)[leaves]


def _load_founders(session: Session, runs: Collection[uuid.UUID]) -> dict[uuid.UUID, _Founders]:
    # One row a run: a Python object for every leaf of every night takes longer than all the rest.
    columns = (LeafRow.content_key, LeafRow.embedding_key, LeafRow.text_key)
    leaves = (
        select(LeafRow.run_id, *(array_agg(aggregate_order_by(c, LeafRow.leaf)) for c in columns))
        .where(LeafRow.run_id == any_(literal(list(runs), ARRAY(Uuid))))
        .group_by(LeafRow.run_id)
    )
    orders = select(Run.id, Run.plan_order).where(Run.id.in_(runs))
    order = {row.id: row.plan_order for row in session.execute(orders)}
    return {run: _Founders(order[run], *keys) for run, *keys in session.execute(leaves)}


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


def _arrange(
    rows: Sequence[Row[Any]],
    founders: Mapping[uuid.UUID, _Founders],
    detours: Mapping[uuid.UUID, NightPlan],
) -> StandingForest:
    places: dict[Founder, int] = {}
    for run in dict.fromkeys(row.run_id for row in rows):
        founders[run].number(places)
    return arrange(
        [_span(row, detours) for row in rows],
        [(row.stored, row.coming, _time(row.finished_at)) for row in rows],
        [founders[row.run_id].of(row) for row in rows],
        tuple(places),
    )


def _span(
    row: Row[Any], detours: Mapping[uuid.UUID, NightPlan]
) -> tuple[str, str | None, int, int]:
    start, parent = row.start, row.parent
    if row.run_id in detours:
        night = detours[row.run_id]
        segment = night.plan.segments[row.segment]
        start = segment.start
        parent = None if segment.parent is None else night.keys[segment.parent]
    return row.key, parent, start, row.stop


def _time(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
