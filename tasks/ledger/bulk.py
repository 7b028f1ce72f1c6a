"""Bulk: tens of thousands of rows at once.

Knows the fast way into a table; knows no table.
"""

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
