"""Images: which pictures of a run are in the object store.

Store the object first, then call `record_images`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Integer, Text, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from tasks.records import ImageRow, SegmentRow

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


def record_previews(session: Session, run: uuid.UUID, previews: Mapping[int, str]) -> None:
    """Record the sha256 of splits' previews, by segment."""
    made = (
        func.unnest(
            literal(list(previews), ARRAY(Integer)), literal(list(previews.values()), ARRAY(Text))
        )
        .table_valued("segment", "sha256", name="made")
        .render_derived()
    )
    session.execute(
        update(SegmentRow)
        .where(SegmentRow.run_id == run, SegmentRow.segment == made.c.segment)
        .values(preview=made.c.sha256)
        .execution_options(synchronize_session=False)
    )


def load_previews(session: Session, run: uuid.UUID) -> dict[int, str]:
    """Return the sha256 of the previews of a run's splits, by segment."""
    rows = session.execute(
        select(SegmentRow.segment, SegmentRow.preview)
        .where(SegmentRow.run_id == run, SegmentRow.preview.is_not(None))
        .order_by(SegmentRow.segment)
    )
    return {segment: sha256 for segment, sha256 in rows if sha256}


def find_pictures(session: Session, digests: Collection[str]) -> dict[str, StoredImage]:
    """Return the pictures that any run has recorded, by their sha256."""
    rows = session.execute(
        select(*_FIELDS)
        .where(ImageRow.sha256 == any_(literal(list(digests), ARRAY(Text))))
        .distinct(ImageRow.sha256)
    )
    return {row.sha256: StoredImage(*row) for row in rows}


def load_images(session: Session, run: uuid.UUID) -> dict[int, StoredImage]:
    """Return a run's pictures by leaf."""
    rows = session.execute(
        select(ImageRow.leaf, *_FIELDS).where(ImageRow.run_id == run).order_by(ImageRow.leaf)
    )
    return {row.leaf: StoredImage(*row[1:]) for row in rows}
