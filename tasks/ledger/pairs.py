"""Pairs: pictures of the sample, each with the one that was made without sharing.

Store the object first, then call `record_pairs`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Text, any_, delete, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from tasks.records import ImageRow, PairRow


@dataclass(frozen=True, slots=True)
class StoredPair:
    """A picture, the plain one beside it, and how far they are apart."""

    leaf: int
    picture: str  # sha256 of the one that shared
    plain: str  # sha256 of the one that did not
    bytes: int  # of the plain one
    evaluations: int  # that it took in this run; 0: an earlier one has made it
    compared_by: str | None = None  # the encoder and the judge; None before
    distance: float | None = None  # 1 - cosine of the two pictures' embeddings
    loss: float | None = None  # a share of what a plain picture misses
    score: float | None = None  # by the judge, of the one that shared
    plain_score: float | None = None


_FIELDS = tuple(getattr(PairRow, name) for name in StoredPair.__dataclass_fields__)


def record_pairs(session: Session, run: uuid.UUID, pairs: Iterable[StoredPair]) -> None:
    """Record pairs, in place of those of the same leaves."""
    rows = [{"run_id": run, **asdict(each)} for each in pairs]
    if not rows:
        return
    new, key = insert(PairRow), ("run_id", "leaf")
    fields = {name: new.excluded[name] for name in rows[0] if name not in key}
    session.execute(new.on_conflict_do_update(index_elements=list(key), set_=fields), rows)


def load_pairs(session: Session, run: uuid.UUID) -> dict[int, StoredPair]:
    """Return a run's pairs by leaf; none of a picture that has been replaced since."""
    mine = select(*_FIELDS).where(PairRow.run_id == run).join(ImageRow, _is_of_image())
    rows = session.execute(mine.order_by(PairRow.leaf))
    return {row.leaf: StoredPair(*row) for row in rows}


def carry_pairs(session: Session, run: uuid.UUID) -> None:
    """Give a run the pairs that earlier ones have of the pictures that it kept."""
    own = ("leaf", "evaluations")
    names = [name for name in StoredPair.__dataclass_fields__ if name not in own]
    columns = [getattr(PairRow, name) for name in names]
    earlier = (
        select(ImageRow.run_id, ImageRow.leaf, literal(0), *columns)
        .join(PairRow, PairRow.picture == ImageRow.sha256)
        .where(ImageRow.run_id == run, PairRow.run_id != run)
        .distinct(ImageRow.leaf)
        .order_by(ImageRow.leaf, PairRow.compared_by.is_(None))
    )
    new = insert(PairRow).from_select(["run_id", "leaf", "evaluations", *names], earlier)
    session.execute(new.on_conflict_do_nothing())


def forget_pairs(session: Session, run: uuid.UUID, leaves: Collection[int]) -> None:
    """Take back pairs whose plain picture is damaged or gone."""
    session.execute(delete(PairRow).where(PairRow.run_id == run, PairRow.leaf.in_(leaves)))


def plain_of(session: Session, pictures: Collection[str]) -> set[str]:
    """Return the sha256 of the plain pictures that were made beside some pictures."""
    of_these = PairRow.picture == any_(literal(sorted(pictures), ARRAY(Text)))
    return set(session.execute(select(PairRow.plain).where(of_these)).scalars())


def _is_of_image() -> ColumnElement[bool]:
    same_leaf = (PairRow.run_id == ImageRow.run_id) & (PairRow.leaf == ImageRow.leaf)
    return same_leaf & (PairRow.picture == ImageRow.sha256)
