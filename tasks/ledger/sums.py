"""Sums of founders: what stands is compared with new rows by one vector a segment.

Tens of thousands are read for a night, each of a few thousand bytes. They are kept only while a
segment of their key is, and go when one of its founders is forgotten.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Text, Uuid, all_, any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from tasks.records import FounderSum, SegmentRow

Sums = npt.NDArray[np.float32]

_PART = 4096  # sums that are read by one statement
_READ = "SELECT key, content FROM founder_sums WHERE units = %s AND key = ANY(%s)"
_TYPE = np.dtype("<f4")


def read_sums(session: Session, keys: Sequence[str], units: bool, into: Sums) -> None:
    """Read the sums that are kept of segments into rows (M, D); other rows stay as they are."""
    place = {key: row for row, key in enumerate(keys)}
    size = into.shape[1] * _TYPE.itemsize
    # By a cursor that reads bytes as they are: as text they take several times as long.
    with closing(session.connection().connection.cursor(binary=True)) as cursor:
        for first in range(0, len(keys), _PART):
            cursor.execute(_READ, (units, list(keys[first : first + _PART])))
            for key, content in cursor.fetchall():
                if len(content) == size:
                    into[place[key]] = np.frombuffer(content, _TYPE)


def keep_sums(session: Session, units: bool, sums: Mapping[str, Sums]) -> None:
    """Keep sums of segments, by key, but for those whose segments are gone."""
    wanted = SegmentRow.key == any_(literal(list(sums), ARRAY(Text)))
    standing = session.execute(select(SegmentRow.key).where(wanted).distinct()).scalars()
    # Two nights that store the same keys in another order would wait for each other for ever.
    rows = [
        {"key": key, "units": units, "content": sums[key].astype(_TYPE).tobytes()}
        for key in sorted(standing)
    ]
    if rows:
        new = insert(FounderSum)
        same = [FounderSum.key, FounderSum.units]
        # One of another length is damaged.
        changed = func.octet_length(FounderSum.content) != func.octet_length(new.excluded.content)
        session.execute(
            new.on_conflict_do_update(
                index_elements=same, set_={"content": new.excluded.content}, where=changed
            ),
            rows,
        )


def count_idle_sums(session: Session, going: Sequence[uuid.UUID] = ()) -> tuple[int, int]:
    """Return number and bytes of the sums without a segment; runs that are `going` do not count."""
    size = func.coalesce(func.sum(func.octet_length(FounderSum.content)), 0)
    count, total = session.execute(select(func.count(), size).where(_idle(going))).one()
    return count, total


def remove_idle_sums(session: Session) -> tuple[int, int]:
    """Remove the sums that no segment has; return number and bytes."""
    removed = delete(FounderSum).where(_idle(())).returning(func.octet_length(FounderSum.content))
    sizes = session.execute(removed).scalars().all()
    return len(sizes), sum(sizes)


def remove_sums(session: Session, keys: Collection[str]) -> None:
    """Remove the sums of segments."""
    chosen = FounderSum.key == any_(literal(sorted(keys), ARRAY(Text)))
    session.execute(delete(FounderSum).where(chosen).execution_options(synchronize_session=False))


def _idle(going: Sequence[uuid.UUID]) -> ColumnElement[bool]:
    stay = SegmentRow.run_id != all_(literal(list(going), ARRAY(Uuid)))
    return ~select(SegmentRow.key).where(SegmentRow.key == FounderSum.key, stay).exists()
