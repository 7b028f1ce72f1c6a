"""Names of objects: which of them a row of the ledger still gives."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Column, Text, Uuid, all_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from tasks.object_keys import ObjectKind
from tasks.records import Base, EmbeddingRow


def find_named(
    session: Session, kind: ObjectKind, names: Collection[str], going: Sequence[uuid.UUID] = ()
) -> set[str]:
    """Return those names of objects that a row gives, other than one of a run that is `going`."""
    # Called as no column of a table that names objects is, which would be compared with itself.
    given = func.unnest(literal(list(names), ARRAY(Text))).column_valued("name_of_object")
    columns = [_column(each) for each in kind.named_by]
    named = or_(*(_gives(column, given, going) for column in columns))
    return set(session.execute(select(given).where(named)).scalars())


def names_of_embeddings(session: Session, kind: ObjectKind, keys: Collection[str]) -> set[str]:
    """Return the names of a kind that the rows of some embeddings give."""
    table = EmbeddingRow.__table__
    names: set[str] = set()
    for column in (_column(each) for each in kind.named_by):
        if column.table is table:
            rows = select(column).where(EmbeddingRow.key.in_(keys), column.is_not(None))
            names |= set(session.execute(rows).scalars())
    return names


def _gives(column: Column[Any], given: Any, going: Sequence[uuid.UUID]) -> Any:
    table = column.table
    row = select(1).select_from(table).where(column == cast(given, column.type))
    run = table.c.id if table.name == "runs" else table.c.get("run_id")
    if run is not None and going:
        row = row.where(run != all_(literal(list(going), ARRAY(Uuid))))
    return row.exists()


def _column(name: str) -> Column[Any]:
    table, _, column = name.partition(".")
    return Base.metadata.tables[table].c[column]
