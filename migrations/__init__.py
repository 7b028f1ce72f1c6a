"""Alembic migrations: how the tables came to be what `tasks.records` says they are."""
