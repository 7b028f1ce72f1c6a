"""Erasure: rows leave every night that has them, with all that was made for them alone.

A picture is one row's or several equal rows'; a night whose last such row goes wants its picture no
more. Leaves keep their numbers and digests, from which the keys of other pictures follow.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import Select, Text, and_, any_, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from hierdiff_core.prompt import normal_text
from tasks.ledger.removal import remove_plans
from tasks.ledger.requests import refuse_while_leased
from tasks.ledger.retention import is_open
from tasks.ledger.sums import remove_idle_sums, remove_sums
from tasks.records import (
    Batch,
    Catalogue,
    EmbeddingRow,
    ImageRow,
    LeafRow,
    PromptRow,
    RejectedRow,
    RemakeRow,
    Run,
    SegmentRow,
    VerdictRow,
)
from tasks.states import RunState, SegmentState


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row of a night that is to be erased."""

    id: int
    batch: int
    run: uuid.UUID | None
    catalogue: str
    business_date: date
    reference: str
    text: str
    content_key: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A leaf that no row of its night asks for any more."""

    run: uuid.UUID
    leaf: int
    end: int  # its own segment


@dataclass
class Erasure:
    """What an erasure takes away, and what it leaves."""

    rows: tuple[NamedRow, ...] = ()
    rejected: tuple[int, ...] = ()  # ids of rejected rows that name the row
    withdrawn: list[Withdrawn] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)  # objects that it helped to steer
    pictures: set[str] = field(default_factory=set)  # sha256
    previews: set[str] = field(default_factory=set)  # sha256
    embeddings: set[str] = field(default_factory=set)  # keys
    others: tuple[str, ...] = ()  # rows that ask for the same picture and stay
    open_runs: set[uuid.UUID] = field(default_factory=set)  # unfinished: they lose their plans
    founded: set[uuid.UUID] = field(default_factory=set)  # whose plans have a founder of it
    steered: set[str] = field(default_factory=set)  # keys of segments that it helped to steer

    @property
    def runs(self) -> list[uuid.UUID]:
        """The runs of its rows."""
        return sorted({row.run for row in self.rows if row.run is not None})


def find_rows(
    session: Session, reference: str | None, prompt: str | None, catalogue: str | None
) -> tuple[NamedRow, ...]:
    """Return the rows of all nights, or of one catalogue, with this reference or this prompt."""
    rows = (
        select(PromptRow.id, Batch.id, Run.id, Catalogue.name, Batch.business_date)
        .add_columns(PromptRow.reference, PromptRow.text, PromptRow.content_key)
        .join(Batch, Batch.id == PromptRow.batch_id)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .outerjoin(Run, Run.batch_id == Batch.id)
        .order_by(Batch.id, PromptRow.row)
    )
    if reference is not None:
        rows = rows.where(PromptRow.reference == reference)
    if prompt is not None:
        rows = rows.where(_same_text(PromptRow.text, [prompt]))
    if catalogue is not None:
        rows = rows.where(Catalogue.name == catalogue)
    return tuple(NamedRow(*row) for row in session.execute(rows))


def find_rejected(
    session: Session, words: Collection[str], catalogue: str | None
) -> tuple[int, ...]:
    """Return the rejected rows whose reason holds one of some words."""
    rows = (
        select(RejectedRow.id, RejectedRow.reason)
        .join(Batch, Batch.id == RejectedRow.batch_id)
        .join(Catalogue, Catalogue.id == Batch.catalogue_id)
        .where(or_(*(func.strpos(RejectedRow.reason, word) > 0 for word in words)))
    )
    if catalogue is not None:
        rows = rows.where(Catalogue.name == catalogue)
    whole = [re.compile(rf"(?<!\w){re.escape(word)}(?!\w)") for word in words]
    found = session.execute(rows).all()
    return tuple(row.id for row in found if any(word.search(row.reason) for word in whole))


def survey(session: Session, rows: Sequence[NamedRow], rejected: tuple[int, ...]) -> Erasure:
    """Return all that goes with rows; nothing is changed."""
    erasure = Erasure(tuple(rows), rejected)
    keys, texts = {row.content_key for row in rows}, {row.text for row in rows}
    stay = _rows_of(session, texts, [row.id for row in rows])
    asked = {(row.batch_id, row.content_key) for row in stay}
    still = {row.content_key for row in stay}
    erasure.others = tuple(
        sorted(
            f"{row.reference or 'a row'} of {row.name} {row.business_date}"
            for row in stay
            if row.content_key in keys
        )
    )
    for run, batch in sorted({(row.run, row.batch) for row in rows if row.run is not None}):
        _withdraw(session, erasure, run, {key for key in keys if (batch, key) not in asked})
    for run, leaves in _runs_with(session, keys - still).items():
        _survey_founder(session, erasure, run, leaves)
    over = select(Run.id).where(Run.id.in_({*erasure.runs, *erasure.founded}), ~is_open())
    erasure.open_runs = {*erasure.runs, *erasure.founded} - set(session.execute(over).scalars())
    if not stay:
        named = select(LeafRow.embedding_key).where(_one_of(LeafRow.content_key, keys))
        erasure.embeddings = set(session.execute(named.distinct()).scalars())
    return erasure


def lock(session: Session, erasure: Erasure) -> None:
    """Hold what is to be erased; raises NightTaken or LeaseHeld while somebody works on it."""
    nights = sorted({(row.batch, row.catalogue, row.business_date) for row in erasure.rows})
    for batch, catalogue, business_date in nights:
        refuse_while_leased(session, batch, catalogue, business_date)
    session.execute(
        select(Run.id)
        .where(
            or_(
                Run.id.in_({*erasure.runs, *erasure.founded}),
                Run.id.in_(_holders(erasure.splits)),
            )
        )
        .order_by(Run.id)
        .with_for_update()
    ).all()


def erase(session: Session, erasure: Erasure) -> None:
    """Take everything out of the ledger."""
    remove_plans(session, erasure.open_runs)
    for each in erasure.withdrawn:
        here = (SegmentRow.run_id == each.run, SegmentRow.segment == each.end)
        # Done and without an object: nobody makes it, and no later night finds it.
        _update(session, *here, state=SegmentState.DONE, sha256=None, bytes=None, reason=None)
        picture = (ImageRow.run_id == each.run, ImageRow.leaf == each.leaf)
        session.execute(delete(ImageRow).where(*picture))
        fewer = update(Run).where(Run.id == each.run).values(leaves=Run.leaves - 1)
        session.execute(fewer.execution_options(synchronize_session=False))
    _update(session, _one_of(SegmentRow.sha256, erasure.splits), sha256=None, bytes=None)
    _update(session, _one_of(SegmentRow.preview, erasure.previews), preview=None)
    _erase_embeddings(session, erasure.embeddings)
    remove_sums(session, erasure.steered)
    remove_idle_sums(session)  # of which nobody knows any more whose they are
    session.execute(delete(PromptRow).where(PromptRow.id.in_([row.id for row in erasure.rows])))
    for catalogue, reference in {(row.catalogue, row.reference) for row in erasure.rows}:
        theirs = select(Catalogue.id).where(Catalogue.name == catalogue).scalar_subquery()
        for table in (RemakeRow, VerdictRow):
            mine = (table.catalogue_id == theirs, table.reference == reference)
            session.execute(delete(table).where(*mine))
    session.execute(delete(VerdictRow).where(_one_of(VerdictRow.sha256, erasure.pictures)))
    session.execute(delete(RejectedRow).where(RejectedRow.id.in_(erasure.rejected)))
    # The digest is that of rows which are no longer the night's.
    batches = {row.batch for row in erasure.rows}
    session.execute(update(Batch).where(Batch.id.in_(batches)).values(rows_digest=None))


def last_nights(session: Session, runs: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of some runs that are the last completed ones of their catalogues."""
    rows = (
        select(Batch.catalogue_id, Run.id)
        .join(Run, Run.batch_id == Batch.id)
        .where(Run.state == RunState.COMPLETED)
        .distinct(Batch.catalogue_id)
        .order_by(Batch.catalogue_id, Batch.business_date.desc())
    )
    return set(runs) & {row.id for row in session.execute(rows)}


def _rows_of(session: Session, texts: Collection[str], but: Collection[int]) -> Sequence[Any]:
    """Return the rows of all nights with some texts, but for some."""
    return (
        session.execute(
            select(PromptRow.content_key, PromptRow.reference, PromptRow.batch_id)
            .add_columns(Catalogue.name, Batch.business_date)
            .join(Batch, Batch.id == PromptRow.batch_id)
            .join(Catalogue, Catalogue.id == Batch.catalogue_id)
            .where(_same_text(PromptRow.text, texts), PromptRow.id.not_in(but))
        )
    ).all()


def _withdraw(session: Session, erasure: Erasure, run: uuid.UUID, keys: Collection[str]) -> None:
    """Note the leaves of a run that nobody asks for any more, and their pictures."""
    order, steps = session.execute(select(Run.plan_order, Run.steps).where(Run.id == run)).one()
    mine = select(LeafRow.leaf).where(LeafRow.run_id == run, _one_of(LeafRow.content_key, keys))
    for leaf in session.execute(mine.where(LeafRow.leaf < len(order))).scalars():
        end, sha256, state = session.execute(
            select(SegmentRow.segment, SegmentRow.sha256, SegmentRow.state).where(
                SegmentRow.run_id == run,
                SegmentRow.first == order.index(leaf),
                SegmentRow.stop == steps,
            )
        ).one()
        picture = select(ImageRow.sha256).where(ImageRow.run_id == run, ImageRow.leaf == leaf)
        found = (sha256, session.execute(picture).scalar())
        if state is SegmentState.PARKED:  # what it names is a checkpoint
            erasure.splits |= {each for each in found if each is not None}
        else:
            erasure.pictures |= {each for each in found if each is not None}
        erasure.withdrawn.append(Withdrawn(run, leaf, end))


def _runs_with(session: Session, keys: Collection[str]) -> dict[uuid.UUID, list[int]]:
    """Return the leaves, and founders without a picture, of some content keys by their run."""
    found: dict[uuid.UUID, list[int]] = {}
    leaves = select(LeafRow.run_id, LeafRow.leaf).where(_one_of(LeafRow.content_key, keys))
    for run, leaf in session.execute(leaves):
        found.setdefault(run, []).append(leaf)
    return found


def _survey_founder(
    session: Session, erasure: Erasure, run: uuid.UUID, leaves: Sequence[int]
) -> None:
    """Note the splits of a run that some of its leaves helped to steer."""
    order, steps = session.execute(select(Run.plan_order, Run.steps).where(Run.id == run)).one()
    places = [order.index(leaf) for leaf in leaves if leaf in set(order)]
    members = [
        and_(SegmentRow.founders.is_(None), SegmentRow.first <= place, SegmentRow.last > place)
        for place in places
    ]
    founders = [SegmentRow.founders.contains([leaf]) for leaf in leaves]
    steered = session.execute(
        select(SegmentRow.key, SegmentRow.sha256, SegmentRow.preview)
        .where(SegmentRow.run_id == run, SegmentRow.stop < steps)
        .where(or_(*members, *founders))
    ).all()
    erasure.founded.add(run)
    erasure.steered |= {row.key for row in steered}
    erasure.splits |= {row.sha256 for row in steered if row.sha256 is not None}
    erasure.previews |= {row.preview for row in steered if row.preview is not None}


def _erase_embeddings(session: Session, keys: Collection[str]) -> None:
    """Remove embeddings; of one that a plan names the key stays, and counts as lost."""
    here = _one_of(EmbeddingRow.key, keys)
    named = select(LeafRow.leaf).where(LeafRow.embedding_key == EmbeddingRow.key).exists()
    session.execute(delete(EmbeddingRow).where(here, ~named))
    empty = {column.name: None for column in EmbeddingRow.__table__.c if column.nullable}
    _update(session, here, table=EmbeddingRow, content=b"", sha256="", **empty)


def _holders(splits: Collection[str]) -> Select[tuple[uuid.UUID]]:
    return select(SegmentRow.run_id).where(_one_of(SegmentRow.sha256, splits))


def _update(session: Session, *where: Any, table: Any = SegmentRow, **values: Any) -> None:
    changed = update(table).where(*where).values(**values)
    session.execute(changed.execution_options(synchronize_session=False))


def _same_text(column: Any, texts: Collection[str]) -> Any:
    return _one_of(func.normalize(func.btrim(column)), [normal_text(each) for each in texts])


def _one_of(column: Any, values: Collection[str]) -> Any:
    return column == any_(literal(list(values), ARRAY(Text)))
