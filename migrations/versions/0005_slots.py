"""A run's slots decide the last bits of its pictures, so they stand with the run, not with figures.

Revision 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take the slots out of the figures of the stage that found them."""
    op.add_column("runs", sa.Column("slots", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE runs SET slots = (details->>'slots')::integer FROM run_metrics"
        " WHERE run_id = runs.id AND stage = 'probe'"
    )
    op.execute("UPDATE run_metrics SET details = details - 'slots' WHERE stage = 'probe'")


def downgrade() -> None:
    """Put them back among the figures."""
    op.execute(
        "UPDATE run_metrics SET details = details || jsonb_build_object('slots', slots) FROM runs"
        " WHERE run_id = runs.id AND stage = 'probe' AND slots IS NOT NULL"
    )
    op.drop_column("runs", "slots")
