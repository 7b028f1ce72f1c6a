"""Claims: one batch for a catalogue and a date, and the prompts that belong to it.

A night exists once and is filled once.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Row, Text, any_, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, aliased

from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.recipe import Recipe
from tasks.errors import UnknownRun
from tasks.ledger.bulk import insert_rows
from tasks.records import Batch, Catalogue, LeafRow, PromptRow, RejectedRow, Run
from tasks.rejected import Rejected
from tasks.states import BatchState, RunState

_CURRENT = Batch.replaced_at.is_(None)
_OF_PICTURES = ("number", "own_seed", "remade_seed", "anew")
_COLUMNS = (
    PromptRow.row,
    PromptRow.reference,
    PromptRow.text,
    PromptRow.recipe,
    *(getattr(PromptRow, name) for name in _OF_PICTURES),
)


@dataclass(frozen=True, slots=True)
class Night:
    """A catalogue on a business date, as far as it has come."""

    batch: int
    catalogue: str
    business_date: date
    state: BatchState
    run: uuid.UUID | None  # its plan, where there is one
    run_state: RunState | None = None
    flow_run_id: str | None = None  # that carries the run out
    replaced: int = 0  # nights of this date before it


def claim_night(session: Session, catalogue: str, business_date: date) -> Night:
    """Return the one night of a catalogue and date, made now or as it was left.

    A second start attaches; who carries the night out takes a lease (`night_leases`).
    """
    session.execute(upsert(Catalogue).values(name=catalogue).on_conflict_do_nothing())
    known = select(Catalogue.id).where(Catalogue.name == catalogue)
    catalogue_id = session.execute(known).scalar_one()
    # Of two claims at once the second waits here for the first, then finds its row.
    session.execute(
        upsert(Batch)
        .values(catalogue_id=catalogue_id, business_date=business_date, state=BatchState.CLAIMED)
        .on_conflict_do_nothing()
    )
    place = (Batch.catalogue_id == catalogue_id, Batch.business_date == business_date)
    batch = session.execute(select(Batch.id).where(*place, _CURRENT)).scalar_one()
    return _read_night(session, catalogue, batch)


def find_night(session: Session, catalogue: str, business_date: date) -> Night | None:
    """Return the night of a catalogue and date, or None where there is none; nothing is written."""
    night = select(Batch.id).join(Catalogue, Catalogue.id == Batch.catalogue_id)
    place = (Catalogue.name == catalogue, Batch.business_date == business_date)
    batch = session.execute(night.where(*place, _CURRENT)).scalar()
    return None if batch is None else _read_night(session, catalogue, batch)


def has_nights(session: Session, catalogue: str) -> bool:
    """Return whether a catalogue has had a night of any date."""
    nights = select(Batch.id).join(Catalogue, Catalogue.id == Batch.catalogue_id)
    return session.execute(nights.where(Catalogue.name == catalogue).limit(1)).first() is not None


def catalogue_of(session: Session, batch: int) -> str:
    """Return the name of the catalogue that a night is one of."""
    named = select(Catalogue.name).join(Batch, Batch.catalogue_id == Catalogue.id)
    return session.execute(named.where(Batch.id == batch)).scalar_one()


def store_prompts(
    session: Session, batch: int, prompts: Sequence[Prompt], rejected: Sequence[Rejected]
) -> bool:
    """Store a night's rows, once and for all; return False where they are stored already."""
    locked = select(Batch.state).where(Batch.id == batch).with_for_update()
    if session.execute(locked).scalar_one() is BatchState.INGESTED:
        return False
    recipes = {recipe: recipe.to_json() for recipe in {prompt.recipe for prompt in prompts}}
    rows = [
        {
            "batch_id": batch,
            "row": prompt.row,
            "reference": prompt.reference,
            "text": prompt.text,
            "content_key": content_key(prompt),
            "recipe": recipes[prompt.recipe],
            **{name: getattr(prompt, name) for name in _OF_PICTURES},
        }
        for prompt in prompts
    ]
    faults = [{"batch_id": batch, "row": each.row, "reason": each.reason} for each in rejected]
    insert_rows(session, PromptRow, rows)
    insert_rows(session, RejectedRow, faults)
    session.execute(update(Batch).where(Batch.id == batch).values(state=BatchState.INGESTED))
    return True


def load_prompts(
    session: Session, batch: int, content_keys: Collection[str] | None = None
) -> tuple[Prompt, ...]:
    """Return a night's prompts, or those of some pictures, in the order of rows and numbers."""
    chosen = select(*_COLUMNS).where(PromptRow.batch_id == batch)
    if content_keys is not None:
        wanted = literal(list(content_keys), ARRAY(Text))
        chosen = chosen.where(PromptRow.content_key == any_(wanted))
    rows = session.execute(chosen.order_by(PromptRow.row, PromptRow.number))
    return tuple(map(_read_prompt, rows))


def load_run_prompts(session: Session, run: uuid.UUID) -> tuple[Prompt, ...]:
    """Return the prompts of a run's night; raises UnknownRun."""
    batch = session.execute(select(Run.batch_id).where(Run.id == run)).scalar()
    if batch is None:
        raise UnknownRun(run=run)
    return load_prompts(session, batch)


def find_prompts(session: Session, embedding_keys: Collection[str]) -> dict[str, Prompt]:
    """Return a prompt of each embedding that any night's plan names, by the embedding's key."""
    rows = session.execute(
        select(LeafRow.embedding_key, *_COLUMNS)
        .join(PromptRow, PromptRow.content_key == LeafRow.content_key)
        .where(LeafRow.embedding_key == any_(literal(list(embedding_keys), ARRAY(Text))))
        .distinct(LeafRow.embedding_key)
    )
    return {row.embedding_key: _read_prompt(row) for row in rows}


def load_rejected(session: Session, batch: int) -> tuple[Rejected, ...]:
    """Return a night's rejected rows in their order."""
    columns = (RejectedRow.row, RejectedRow.reason)
    rows = session.execute(select(*columns).filter_by(batch_id=batch).order_by(RejectedRow.id))
    return tuple(Rejected(row, reason) for row, reason in rows)


def _read_prompt(row: Row[Any]) -> Prompt:
    of_picture = {name: getattr(row, name) for name in _OF_PICTURES}
    return Prompt(row.row, row.reference, row.text, Recipe.from_json(row.recipe), **of_picture)


def _read_night(session: Session, catalogue: str, batch: int) -> Night:
    earlier = aliased(Batch)
    same = (Batch.catalogue_id, Batch.business_date)
    replaced = (
        select(func.count(earlier.id))
        .where(tuple_(earlier.catalogue_id, earlier.business_date) == tuple_(*same))
        .where(earlier.id < Batch.id)
        .scalar_subquery()
    )
    row = session.execute(
        select(Batch.business_date, Batch.state, Run.id, Run.state, Run.flow_run_id, replaced)
        .outerjoin(Run, Run.batch_id == Batch.id)
        .where(Batch.id == batch)
    ).one()
    return Night(batch, catalogue, *row)
