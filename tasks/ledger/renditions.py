"""Renditions: which files were made of a run's pictures, and of which bytes.

Store the object first, then call `record_renditions`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Text, any_, delete, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from tasks.records import RenditionRow


@dataclass(frozen=True, slots=True)
class StoredRendition:
    """A file of one picture in the object store."""

    leaf: int
    name: str  # such as webp-1200
    picture: str  # sha256 of the PNG that it was made of
    made_as: str  # everything else that decides its bytes
    sha256: str
    bytes: int
    width: int  # pixels
    height: int


_FIELDS = tuple(getattr(RenditionRow, name) for name in StoredRendition.__dataclass_fields__)


def record_renditions(session: Session, run: uuid.UUID, made: Iterable[StoredRendition]) -> None:
    """Record renditions, in place of those of the same picture and name."""
    rows = [{"run_id": run, **asdict(each)} for each in made]
    if not rows:
        return
    new = insert(RenditionRow)
    key = ("run_id", "leaf", "name")
    fields = {name: new.excluded[name] for name in rows[0] if name not in key}
    session.execute(new.on_conflict_do_update(index_elements=list(key), set_=fields), rows)


def load_renditions(session: Session, run: uuid.UUID) -> tuple[StoredRendition, ...]:
    """Return a run's renditions, by leaf and name."""
    mine = select(*_FIELDS).where(RenditionRow.run_id == run)
    rows = session.execute(mine.order_by(RenditionRow.leaf, RenditionRow.name))
    return tuple(StoredRendition(*row) for row in rows)


def find_renditions(
    session: Session, pictures: Mapping[int, str], made_as: Collection[str]
) -> tuple[StoredRendition, ...]:
    """Return what any run has made of pictures, given by leaf, as renditions of these leaves.

    A night that is removed meanwhile waits until the transaction ends.
    """
    rows = session.execute(
        select(*_FIELDS)
        .where(
            RenditionRow.picture == any_(literal(sorted(set(pictures.values())), ARRAY(Text))),
            RenditionRow.made_as.in_(made_as),
        )
        .order_by(RenditionRow.run_id, RenditionRow.leaf)
        .with_for_update(read=True, key_share=True)
    )
    known = {(each.picture, each.made_as): each for each in (StoredRendition(*r) for r in rows)}
    return tuple(
        replace(known[picture, each], leaf=leaf)
        for leaf, picture in pictures.items()
        for each in made_as
        if (picture, each) in known
    )


def forget_renditions(session: Session, run: uuid.UUID, gone: Sequence[tuple[int, str]]) -> None:
    """Take back renditions, given by leaf and name, whose objects are damaged or gone."""
    named = tuple_(RenditionRow.leaf, RenditionRow.name)
    session.execute(delete(RenditionRow).where(RenditionRow.run_id == run, named.in_(gone)))


def renditions_of(session: Session, pictures: Collection[str]) -> dict[str, set[str]]:
    """Return the sha256 of all files made of pictures, by the name of the rendition."""
    found: dict[str, set[str]] = {}
    of_these = RenditionRow.picture == any_(literal(sorted(pictures), ARRAY(Text)))
    for name, sha256 in session.execute(
        select(RenditionRow.name, RenditionRow.sha256).where(of_these).distinct()
    ):
        found.setdefault(name, set()).add(sha256)
    return found
