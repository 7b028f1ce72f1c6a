"""Where Alembic meets the database: a connection it is handed, or the one that is set."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from tasks.database import connect, take_turns
from tasks.records import Base
from tasks.settings import read_settings


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


def _write_sql() -> None:
    # `alembic upgrade head --sql`, for those whose database is changed by someone else.
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


handed: Connection | None = context.config.attributes.get("connection")
if context.is_offline_mode():
    _write_sql()
elif handed is not None:
    _run(handed)
else:
    with connect(read_settings()).begin() as opened:
        take_turns(opened)
        _run(opened)
