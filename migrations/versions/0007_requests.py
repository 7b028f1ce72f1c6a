"""A night keeps what it was asked for, and may be replaced by another of the same date.

Revision 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NIGHT = ["catalogue_id", "business_date"]


def upgrade() -> None:
    """Add the request of a night; let one night of a date be current, beside replaced ones."""
    op.add_column("batches", sa.Column("settings", JSONB(), nullable=True))
    op.add_column("batches", sa.Column("rows_digest", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint(op.f("uq_batches_catalogue_id_business_date"), "batches")
    op.create_index(
        "ix_batches_current_night",
        "batches",
        _NIGHT,
        unique=True,
        postgresql_where=sa.text("replaced_at IS NULL"),
    )
    _set_states("planned", "running", "completed", "failed", "cancelled", "replaced")


def downgrade() -> None:
    """Drop the nights that were replaced, and what was asked for."""
    op.execute("DELETE FROM batches WHERE replaced_at IS NOT NULL")
    op.execute("UPDATE runs SET state = 'failed' WHERE state = 'cancelled'")
    _set_states("planned", "running", "completed", "failed")
    op.drop_index("ix_batches_current_night", "batches")
    op.create_unique_constraint(op.f("uq_batches_catalogue_id_business_date"), "batches", _NIGHT)
    for column in ("replaced_at", "rows_digest", "settings"):
        op.drop_column("batches", column)


def _set_states(*states: str) -> None:
    listed = ", ".join(f"'{state}'" for state in states)
    op.drop_constraint(op.f("ck_runs_state"), "runs")
    op.create_check_constraint(op.f("ck_runs_state"), "runs", f"state IN ({listed})")
