"""Images: which pictures of a run are in the object store.

Store the object first, then call `record_images`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Text, and_, any_, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from tasks.records import ImageRow, LeafRow

_FIELDS = (ImageRow.key, ImageRow.sha256, ImageRow.bytes, ImageRow.width, ImageRow.height)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A picture in the object store."""

    key: str
    sha256: str
    bytes: int
    width: int  # pixels
    height: int


def record_images(session: Session, run: uuid.UUID, images: Mapping[int, StoredImage]) -> None:
    """Record pictures by leaf, in place of those that were recorded before."""
    rows = [{"run_id": run, "leaf": leaf, **asdict(image)} for leaf, image in images.items()]
    if not rows:
        return
    new = insert(ImageRow)
    fields = {column.key: new.excluded[column.key] for column in _FIELDS}
    key = [ImageRow.run_id, ImageRow.leaf]
    session.execute(new.on_conflict_do_update(index_elements=key, set_=fields), rows)


def find_pictures(session: Session, content_keys: Collection[str]) -> dict[str, StoredImage]:
    """Return the latest picture of each content key that any run has made, by content key."""
    rows = session.execute(
        select(LeafRow.content_key, *_FIELDS)
        .join(ImageRow, and_(ImageRow.run_id == LeafRow.run_id, ImageRow.leaf == LeafRow.leaf))
        .where(LeafRow.content_key == any_(literal(list(content_keys), ARRAY(Text))))
        .distinct(LeafRow.content_key)
        .order_by(LeafRow.content_key, ImageRow.created_at.desc())
    )
    return {row.content_key: StoredImage(*row[1:]) for row in rows}


def load_images(session: Session, run: uuid.UUID) -> dict[int, StoredImage]:
    """Return a run's pictures by leaf."""
    rows = session.execute(
        select(ImageRow.leaf, *_FIELDS).where(ImageRow.run_id == run).order_by(ImageRow.leaf)
    )
    return {row.leaf: StoredImage(*row[1:]) for row in rows}
