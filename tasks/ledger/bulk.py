"""The fast way to insert tens of thousands of rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

from tasks.records import Base


def insert_rows(session: Session, record: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, which must all have the same columns; none is no error."""
    if rows:
        # Into the table, not its class: three times faster, which counts at this length.
        session.execute(insert(cast(Table, record.__table__)), rows)
