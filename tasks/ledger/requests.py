"""Requests: what a night was asked for, so that it never answers for another one.

A night that is replaced stays in the tables with its run, out of the way of the next one.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from hierdiff_core.digest import digest
from hierdiff_core.prompt import OWN_COLUMNS, Prompt
from tasks.errors import LeaseHeld, NightTaken, UnknownRun
from tasks.ledger.claims import find_night
from tasks.ledger.clock import now, seconds_until
from tasks.records import Batch, Run, Subtree
from tasks.states import BatchState, RunState


@dataclass(frozen=True)
class Request:
    """What a night was asked for; None where an earlier version did not keep it."""

    settings: Mapping[str, Any] | None  # those of `tasks.night_settings`
    rows_digest: str | None


def find_request(session: Session, batch: int) -> Request:
    """Return what a night was asked for."""
    columns = (Batch.settings, Batch.rows_digest)
    return Request(*session.execute(select(*columns).where(Batch.id == batch)).one())


def find_run_settings(session: Session, run: uuid.UUID) -> Mapping[str, Any] | None:
    """Return the settings that a run's night was asked for with; raises UnknownRun."""
    asked = select(Batch.settings).join(Run, Run.batch_id == Batch.id).where(Run.id == run)
    row = session.execute(asked).one_or_none()
    if row is None:
        raise UnknownRun(run=run)
    return row.settings


def note_settings(session: Session, batch: int, settings: Mapping[str, Any]) -> None:
    """Keep the settings that a night was asked for with."""
    session.execute(update(Batch).where(Batch.id == batch).values(settings=dict(settings)))


def note_rows(session: Session, batch: int, rows_digest: str) -> None:
    """Keep the digest of the rows that a night was asked for with."""
    session.execute(update(Batch).where(Batch.id == batch).values(rows_digest=rows_digest))


def replace_night(
    session: Session, catalogue: str, business_date: date, owner: str | None = None
) -> bool:
    """Put a night aside, so that the next claim makes another; return whether there was one.

    What it made is found by its content. A night whose run is carried out by `owner` stays: that is
    the one that has taken its place. Raises NightTaken or LeaseHeld while somebody works on it.
    """
    night = find_night(session, catalogue, business_date)
    if night is None or (owner is not None and night.flow_run_id == owner):
        return False
    refuse_while_leased(session, night.batch, catalogue, business_date)
    session.execute(update(Batch).where(Batch.id == night.batch).values(replaced_at=now()))
    replaced = {"state": RunState.REPLACED}
    session.execute(update(Run).where(Run.batch_id == night.batch).values(**replaced))
    return True


def find_replaced(session: Session, batch: int) -> int | None:
    """Return the night of the same catalogue and date that a night has replaced, if any."""
    here = select(Batch.catalogue_id, Batch.business_date).where(Batch.id == batch)
    catalogue, day = session.execute(here).one()
    before = select(Batch.id).where(
        Batch.catalogue_id == catalogue,
        Batch.business_date == day,
        Batch.id < batch,
        Batch.state == BatchState.INGESTED,
    )
    return session.execute(before.order_by(Batch.id.desc()).limit(1)).scalar()


def row_facts(prompt: Prompt) -> tuple[object, ...]:
    """Return what a row asks for, whatever settings it was read with; rows have no order."""
    own = (getattr(prompt.recipe, name) for name in OWN_COLUMNS)
    seed = -1 if prompt.own_seed is None else prompt.own_seed
    # What plain rows ask for is digested as it was before rows had several pictures.
    picture = () if (prompt.number, seed) == (1, -1) else (prompt.number, seed)
    return (prompt.reference, unicodedata.normalize("NFC", prompt.text.strip()), *own, *picture)


def digest_rows(prompts: Sequence[Prompt], rejected: int) -> str:
    """Return the digest of a night's rows, by which another source is told apart."""
    return digest("rows", sorted(map(row_facts, prompts)), rejected)


def refuse_while_leased(session: Session, batch: int, catalogue: str, business_date: date) -> None:
    """Lock a night; raises NightTaken or LeaseHeld while somebody works on it."""
    held = select(Batch.lease_owner, seconds_until(Batch.lease_until)).where(
        Batch.id == batch, Batch.lease_until > now()
    )
    # The row is locked: a claim at this moment waits, and then finds the night replaced.
    if taken := session.execute(held.with_for_update()).one_or_none():
        owner, seconds = taken
        raise NightTaken(catalogue=catalogue, date=business_date, owner=owner, seconds=seconds)
    at_work = (
        select(Subtree.run_id, Subtree.shard, Subtree.lease_owner)
        .add_columns(seconds_until(Subtree.lease_until))
        .join(Run, Run.id == Subtree.run_id)
        .where(Run.batch_id == batch, Subtree.lease_until > now())
        .limit(1)
    )
    if busy := session.execute(at_work).one_or_none():
        run, shard, owner, seconds = busy
        raise LeaseHeld(run=run, shard=shard, owner=owner, seconds=seconds)
