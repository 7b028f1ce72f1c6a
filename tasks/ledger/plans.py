"""Plans: a night's plan goes into the tables whole and comes back equal.

Segments that an earlier run finished are marked as done when a plan is stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, Text, any_, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from hierdiff_core.plan import Plan, Segment
from hierdiff_core.recipe import Recipe
from tasks.errors import GroundLost, UnknownRun
from tasks.ledger.bulk import insert_rows
from tasks.ledger.images import StoredImage, find_pictures, record_images
from tasks.ledger.removal import hold_embeddings, hold_ground
from tasks.ledger.rows import (
    Done,
    leaf_rows,
    node_rows,
    run_row,
    segment_rows,
    subtree_rows,
    tree_rows,
)
from tasks.ledger.stored_plan import Leaf, NightPlan, Node, Tree
from tasks.records import Base, Batch, LeafRow, NodeRow, Run, SegmentRow, Subtree, TreeRow
from tasks.states import SegmentState


def store_plan(
    session: Session,
    batch: int,
    night: NightPlan,
    nodes: Sequence[Node] = (),
    standing: Collection[int] = (),
    wanted: uuid.UUID | None = None,
) -> uuid.UUID:
    """Store a night's plan and return its run, `wanted` if it is free; a night keeps what it has.

    Segments that an earlier run finished under the same key are done at once, and pictures that
    they ended in are kept: the same object, in another run. Raises GroundLost, with nothing stored,
    where the end state of one of the segments that the plan found `standing`, or an embedding, was
    removed meanwhile.
    """
    session.execute(select(Batch.id).where(Batch.id == batch).with_for_update())
    earlier = session.execute(select(Run.id).where(Run.batch_id == batch)).scalar()
    if earlier is not None:
        return earlier
    hold_ground(session, {tree.compatibility_key for tree in night.trees})
    done = _done_earlier(session, night.keys)
    _check_ground(session, night, done, standing)
    free = wanted is not None and session.get(Run, wanted) is None
    run = wanted if wanted is not None and free else uuid.uuid4()
    session.execute(insert(Run), [run_row(run, batch, night)])
    kept = _kept_pictures(session, night, done)
    tables: tuple[tuple[type[Base], list[dict[str, Any]]], ...] = (
        (TreeRow, tree_rows(run, night)),
        (LeafRow, leaf_rows(run, night)),
        (NodeRow, node_rows(run, nodes)),
        (Subtree, subtree_rows(run, night, done, kept)),
        (SegmentRow, segment_rows(run, night, done)),
    )
    for table, rows in tables:
        insert_rows(session, table, rows)
    record_images(session, run, kept)
    return run


def load_plan(session: Session, run: uuid.UUID) -> NightPlan:
    """Return the plan that was stored, equal in every part; raises UnknownRun."""
    facts = session.get(Run, run)
    if facts is None:
        raise UnknownRun(run=run)
    rows = session.execute(_by_run(SegmentRow, run).order_by(SegmentRow.segment)).all()
    segments = tuple(map(_read_segment, rows))
    shards: list[list[int]] = [[] for _ in range(facts.shards + 1)]
    for row in rows:
        shards[row.shard].append(row.segment)
    order, leaves = tuple(facts.plan_order), _load_leaves(session, run)
    return NightPlan(
        recipe=Recipe.from_json(facts.recipe),
        plan=Plan(
            facts.steps, order, segments, facts.planner, facts.linkage, facts.tau, facts.price
        ),
        trees=_load_trees(session, run),
        leaves=leaves[: len(order)],
        keys=tuple(row.key for row in rows),
        shards=tuple(map(tuple, shards)),
        saving_asked=facts.saving_asked,
        steps_per_image=facts.steps_per_image,
        tuned=facts.tuned or "",
        guests=leaves[len(order) :],
        anew=frozenset(row.segment for row in rows if row.anew),
    )


def load_nodes(session: Session, run: uuid.UUID) -> tuple[Node, ...]:
    """Return the nodes of a run's trees, as far as they were stored."""
    rows = session.execute(_by_run(NodeRow, run).order_by(NodeRow.node))
    return tuple(Node(row.tree, row.left, row.right, row.height, row.size) for row in rows)


def _read_segment(row: Row[Any]) -> Segment:
    span = (row.start, row.stop, row.parent, row.first, row.last)
    founders = None if row.founders is None else tuple(row.founders)
    return Segment(row.segment, row.node, *span, founders)


def _load_trees(session: Session, run: uuid.UUID) -> tuple[Tree, ...]:
    rows = session.execute(_by_run(TreeRow, run).order_by(TreeRow.index))
    return tuple(
        Tree(row.compatibility_key, Recipe.from_json(row.recipe), row.first_leaf, row.leaves)
        for row in rows
    )


def _load_leaves(session: Session, run: uuid.UUID) -> tuple[Leaf, ...]:
    rows = session.execute(_by_run(LeafRow, run).order_by(LeafRow.leaf))
    return tuple(
        Leaf(row.content_key, row.embedding_key, row.text_key or "", row.loss) for row in rows
    )


def _kept_pictures(
    session: Session, night: NightPlan, done: Mapping[str, Done]
) -> dict[int, StoredImage]:
    """Return the pictures of leaves whose last segment an earlier run has made."""
    ends = [night.plan.leaf_segment(leaf).id for leaf in range(night.plan.size)]
    objects = {
        leaf: done[night.keys[end]].sha256
        for leaf, end in enumerate(ends)
        if night.keys[end] in done and end not in night.anew
    }
    found = find_pictures(session, {sha256 for sha256 in objects.values() if sha256})
    return {leaf: found[sha256] for leaf, sha256 in objects.items() if sha256 in found}


def _check_ground(
    session: Session, night: NightPlan, done: Mapping[str, Done], standing: Collection[int]
) -> None:
    keys = {leaf.embedding_key for leaf in (*night.leaves, *night.guests)}
    stored = {key for key, facts in done.items() if facts.sha256 is not None}
    lost = len({night.keys[each] for each in standing} - stored)
    if lost := lost + len(hold_embeddings(session, keys)):
        raise GroundLost(count=lost)


def _by_run(table: type[Any], run: uuid.UUID) -> Select[Any]:
    # Of the table, not of its class: tens of thousands of rows are wanted, no tracked objects.
    return select(table.__table__).where(table.run_id == run)


def _done_earlier(session: Session, keys: Sequence[str]) -> dict[str, Done]:
    done = (
        select(SegmentRow.key, SegmentRow.sha256, SegmentRow.bytes)
        .add_columns(SegmentRow.preview, SegmentRow.finished_at)
        .where(SegmentRow.state == SegmentState.DONE)
        .where(SegmentRow.key == any_(literal(keys, ARRAY(Text))))
        .distinct(SegmentRow.key)
        # Rather one whose end state is still stored.
        .order_by(SegmentRow.key, SegmentRow.sha256.is_(None), SegmentRow.finished_at.desc())
    )
    rows = session.execute(done)
    return {key: Done(*facts) for key, *facts in rows}
