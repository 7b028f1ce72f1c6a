"""What the parts of a run's workers used of energy, and what could not be measured.

Revision 0025, after 0024.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of earlier runs nothing is known."""
    op.create_table(
        "run_energy",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("joules", sa.Float(53), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_energy_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "part", name=op.f("pk_run_energy")),
    )


def downgrade() -> None:
    """It is forgotten."""
    op.drop_table("run_energy")
