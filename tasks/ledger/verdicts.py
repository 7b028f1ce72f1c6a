"""Verdicts: which pictures people accepted or rejected, who, when and why.

Every verdict is kept; of one picture in one catalogue the newest holds.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Select, Text, any_, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from hierdiff_core.prompt import content_key, name_picture
from tasks.ledger.claims import load_run_prompts
from tasks.records import Batch, Catalogue, ImageRow, LeafRow, Run, VerdictRow
from tasks.states import VerdictState


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """What is said now of a row's picture."""

    reference: str
    number: int  # of the row's pictures
    sha256: str  # of the picture
    verdict: VerdictState
    reason: str = ""
    reviewer: str = ""


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """What was said of a picture."""

    reference: str
    number: int
    sha256: str
    verdict: VerdictState
    reason: str
    reviewer: str
    created_at: datetime

    @property
    def name(self) -> str:
        """The picture's name, such as A-17#2."""
        return name_picture(self.reference, self.number)


_Statement = Select[tuple[str, int, str, VerdictState, str, str, datetime]]
_COLUMNS = tuple(getattr(VerdictRow, name) for name in StoredVerdict.__dataclass_fields__)


def record_verdicts(session: Session, catalogue: str, verdicts: Sequence[NewVerdict]) -> None:
    """Add verdicts on pictures of a catalogue, in their order."""
    theirs = select(Catalogue.id).where(Catalogue.name == catalogue)
    catalogue_id = session.execute(theirs).scalar_one()
    rows = [{"catalogue_id": catalogue_id, **asdict(each)} for each in verdicts]
    if rows:
        session.execute(insert(VerdictRow), rows)


def find_verdicts(
    session: Session, catalogue: str, digests: Collection[str]
) -> dict[str, StoredVerdict]:
    """Return what holds of pictures of a catalogue, by their sha256; one without is left out."""
    given = VerdictRow.sha256 == any_(literal(list(digests), ARRAY(Text)))
    found = (StoredVerdict(*row) for row in session.execute(_newest(catalogue).where(given)))
    return {each.sha256: each for each in found if each.verdict is not VerdictState.WITHDRAWN}


def count_accepted(session: Session, catalogue: str, run: uuid.UUID) -> int:
    """Return how many pictures of a run are accepted."""
    pictures = session.execute(select(ImageRow.sha256).where(ImageRow.run_id == run)).scalars()
    found = find_verdicts(session, catalogue, set(pictures))
    return sum(each.verdict is VerdictState.ACCEPTED for each in found.values())


def list_verdicts(session: Session, catalogue: str, reference: str) -> tuple[StoredVerdict, ...]:
    """Return all that was ever said of the pictures of a row, the oldest first."""
    rows = _of(catalogue).where(VerdictRow.reference == reference).order_by(VerdictRow.id)
    return tuple(StoredVerdict(*row) for row in session.execute(rows))


def named_pictures(session: Session, run: uuid.UUID) -> dict[str, str]:
    """Return the sha256 of a run's pictures by their names, such as A-17#2; raises UnknownRun."""
    made = (
        select(LeafRow.content_key, ImageRow.sha256)
        .join(LeafRow, (LeafRow.run_id == ImageRow.run_id) & (LeafRow.leaf == ImageRow.leaf))
        .where(ImageRow.run_id == run)
    )
    pictures = {row.content_key: row.sha256 for row in session.execute(made)}
    keys = {each.name: content_key(each) for each in load_run_prompts(session, run)}
    return {name: pictures[key] for name, key in keys.items() if key in pictures}


def rejected_keys(session: Session, catalogue: str) -> set[str]:
    """Return the content keys whose picture, as a catalogue last had it, is rejected."""
    newest = _newest(catalogue).subquery()
    pictures = (
        select(LeafRow.content_key, ImageRow.sha256)
        .join(ImageRow, (LeafRow.run_id == ImageRow.run_id) & (LeafRow.leaf == ImageRow.leaf))
        .join(Run, Run.id == LeafRow.run_id)
        .join(Batch, Batch.id == Run.batch_id)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .where(Catalogue.name == catalogue)
    )
    rejected = select(newest.c.sha256).where(newest.c.verdict == VerdictState.REJECTED)
    suspects = pictures.where(ImageRow.sha256.in_(rejected)).subquery()
    latest = (
        pictures.where(LeafRow.content_key.in_(select(suspects.c.content_key)))
        .distinct(LeafRow.content_key)
        .order_by(LeafRow.content_key, Run.created_at.desc())
    )
    digests = set(session.execute(rejected).scalars())
    return {row.content_key for row in session.execute(latest) if row.sha256 in digests}


def rejected_in(session: Session, run: uuid.UUID, catalogue: str) -> dict[str, str]:
    """Return why pictures of a run are rejected, by their content keys."""
    newest = _newest(catalogue).subquery()
    rows = session.execute(
        select(LeafRow.content_key, newest.c.reason)
        .join(ImageRow, (LeafRow.run_id == ImageRow.run_id) & (LeafRow.leaf == ImageRow.leaf))
        .join(newest, newest.c.sha256 == ImageRow.sha256)
        .where(ImageRow.run_id == run, newest.c.verdict == VerdictState.REJECTED)
    )
    return {row.content_key: row.reason for row in rows}


def _newest(catalogue: str) -> _Statement:
    newest = _of(catalogue).distinct(VerdictRow.sha256)
    return newest.order_by(VerdictRow.sha256, VerdictRow.id.desc())


def _of(catalogue: str) -> _Statement:
    return (
        select(*_COLUMNS)
        .join(Catalogue, Catalogue.id == VerdictRow.catalogue_id)
        .where(Catalogue.name == catalogue)
    )
