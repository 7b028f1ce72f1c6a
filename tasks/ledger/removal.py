"""Removal: nights, splits and embeddings leave the ledger; their objects are no longer named then.

Who plans a night holds the runs that it stands on (`hold_ground`); who removes a run, or what it
has stored, holds it against that. So one of the two comes first, and the other sees what it did.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Text, Uuid, all_, any_, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from tasks.ledger.clock import after
from tasks.ledger.retention import OldNight, is_leased, is_open
from tasks.records import Base, Batch, EmbeddingRow, LeafRow, Run, SegmentRow, Subtree, TreeRow

IdleEmbeddings = tuple[int, int, datetime | None, datetime | None]

_TABLES = tuple(reversed(Base.metadata.sorted_tables))  # each before those that it points to


def hold_ground(session: Session, recipes: Collection[str]) -> None:
    """Keep what the runs of recipes have stored from being removed until the transaction ends.

    Waits while it is being removed: what a later statement finds stays.
    """
    of_recipes = TreeRow.compatibility_key == any_(literal(list(recipes), ARRAY(Text)))
    runs = select(TreeRow.run_id).where(of_recipes)
    # In one order everywhere, or two would wait for each other for ever.
    session.execute(
        select(Run.id)
        .where(Run.id.in_(runs))
        .order_by(Run.id)
        .with_for_update(key_share=True, read=True)
    )


def hold_embeddings(session: Session, keys: Collection[str]) -> set[str]:
    """Keep embeddings from being removed until the transaction ends; return those that are gone."""
    wanted = EmbeddingRow.key == any_(literal(sorted(keys), ARRAY(Text)))
    held = select(EmbeddingRow.key).where(wanted).order_by(EmbeddingRow.key)
    found = session.execute(held.with_for_update(key_share=True, read=True)).scalars()
    return set(keys) - set(found)


def lock_night(session: Session, night: OldNight) -> bool:
    """Lock a night that is to be removed; return False where it is gone or somebody works on it."""
    batch = select(Batch.id).where(Batch.id == night.batch).with_for_update()
    run = select(Run.id).where(Run.id == night.run).with_for_update()
    # Subtrees, too: a worker may be about to take one.
    subtrees = select(Subtree.shard).where(Subtree.run_id == night.run).with_for_update()
    if session.execute(batch).first() is None:
        return False
    for statement in (run, subtrees):
        session.execute(statement).all()
    leased = select(is_leased()).select_from(Batch).outerjoin(Run, Run.batch_id == Batch.id)
    return not session.execute(leased.where(Batch.id == night.batch)).scalar_one()


def remove_night(session: Session, night: OldNight) -> dict[str, int]:
    """Remove the rows of a night that is locked; return how many of each table."""
    gone = {}
    for table in _TABLES:
        mine = _of_nights(table, [night])
        if mine is not None:
            done: Any = session.execute(delete(table).where(mine))
            gone[table.name] = done.rowcount
    return gone


def remove_plans(session: Session, runs: Collection[uuid.UUID]) -> None:
    """Remove plans whose runs are locked, with their progress; their nights are planned anew."""
    for table in _TABLES:
        column = table.c.id if table.name == "runs" else table.c.get("run_id")
        if column is not None:
            session.execute(delete(table).where(column == any_(literal(list(runs), ARRAY(Uuid)))))


def count_rows(session: Session, nights: Sequence[OldNight]) -> dict[str, int]:
    """Return how many rows of each table nights have."""
    counts = {}
    for table in _TABLES:
        theirs = _of_nights(table, nights)
        if theirs is not None:
            counts[table.name] = session.execute(
                select(func.count()).select_from(table).where(theirs)
            ).scalar_one()
    return counts


def forget_splits(session: Session, sha256s: Collection[str]) -> set[str]:
    """Take back that objects hold splits, but for those that a night may need; return which.

    Their segments stay done: nobody makes them again unless what is below them has to be.
    """
    named = SegmentRow.sha256 == any_(literal(list(sha256s), ARRAY(Text)))
    runs = select(SegmentRow.run_id).where(named)
    session.execute(select(Run.id).where(Run.id.in_(runs)).order_by(Run.id).with_for_update()).all()
    needed = select(SegmentRow.sha256).join(Run, Run.id == SegmentRow.run_id)
    busy = set(session.execute(needed.where(named, is_open()).distinct()).scalars())
    idle = set(sha256s) - busy
    session.execute(
        update(SegmentRow)
        .where(SegmentRow.sha256 == any_(literal(list(idle), ARRAY(Text))))
        .values(sha256=None, bytes=None)
        .execution_options(synchronize_session=False)
    )
    return idle


def used_recipes(session: Session, going: Sequence[uuid.UUID] = ()) -> list[Mapping[str, Any]]:
    """Return the recipes of all runs but those that are `going`, as JSON."""
    stay = TreeRow.run_id != all_(literal(list(going), ARRAY(Uuid)))
    return list(session.execute(select(TreeRow.recipe).where(stay).distinct()).scalars())


def count_idle_embeddings(
    session: Session, kept: Collection[str], seconds: float, going: Sequence[uuid.UUID] = ()
) -> IdleEmbeddings:
    """Return number, bytes, and first and last time of the embeddings that no plan names.

    Those that are `kept`, or younger than so many seconds, do not count, nor do runs that are
    `going`.
    """
    return _counted(session, _idle(kept, seconds, going))


def remove_idle_embeddings(
    session: Session, kept: Collection[str], seconds: float, most: int
) -> IdleEmbeddings:
    """Remove embeddings that no plan names, so many at most, and return them counted.

    One that a night is about to name is passed over.
    """
    idle = select(EmbeddingRow.key).where(_idle(kept, seconds)).limit(most)
    keys = session.execute(idle.with_for_update(skip_locked=True)).scalars().all()
    chosen = EmbeddingRow.key == any_(literal(list(keys), ARRAY(Text)))
    found = _counted(session, chosen)
    session.execute(delete(EmbeddingRow).where(chosen).execution_options(synchronize_session=False))
    return found


def _counted(session: Session, which: Any) -> IdleEmbeddings:
    size = func.coalesce(func.sum(func.octet_length(EmbeddingRow.content)), 0)
    times = (func.min(EmbeddingRow.created_at), func.max(EmbeddingRow.created_at))
    count, total, oldest, newest = session.execute(
        select(func.count(), size, *times).where(which)
    ).one()
    return count, total, oldest, newest


def _idle(kept: Collection[str], seconds: float, going: Sequence[uuid.UUID] = ()) -> Any:
    stay = LeafRow.run_id != all_(literal(list(going), ARRAY(Uuid)))
    named = select(LeafRow.leaf).where(LeafRow.embedding_key == EmbeddingRow.key, stay).exists()
    old = EmbeddingRow.created_at <= after(-seconds)
    return ~named & old & (EmbeddingRow.key != all_(literal(list(kept), ARRAY(Text))))


def _of_nights(table: Any, nights: Sequence[OldNight]) -> Any:
    """Return which rows of a table belong to nights, or None where none can."""
    runs = [night.run for night in nights if night.run is not None]
    batches = [night.batch for night in nights]
    if "run_id" in table.c:
        return table.c.run_id == any_(literal(runs, ARRAY(Uuid)))
    if "batch_id" in table.c:
        return table.c.batch_id == any_(literal(batches, ARRAY(table.c.batch_id.type)))
    return (
        table.c.id == any_(literal(batches, ARRAY(table.c.id.type))) if table is _BATCHES else None
    )


_BATCHES = Base.metadata.tables["batches"]
