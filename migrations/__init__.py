"""Alembic migrations, which make the tables that `tasks.records` maps."""
