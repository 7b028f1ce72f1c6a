"""A run records its planner; the price of a calibrated plan is no longer called tau.

Revision 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add planner and price; runs that a calibration planned had both in linkage and tau."""
    op.add_column("runs", sa.Column("planner", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("price", sa.Float(53), nullable=True))
    op.alter_column("runs", "linkage", nullable=True)
    op.alter_column("runs", "tau", nullable=True)
    op.execute("UPDATE runs SET planner = 'paper' WHERE linkage <> 'calibrated'")
    op.execute(
        "UPDATE runs SET planner = 'calibrated', price = tau, linkage = NULL, tau = NULL"
        " WHERE linkage = 'calibrated'"
    )
    op.alter_column("runs", "planner", nullable=False)


def downgrade() -> None:
    """Put planner and price back into linkage and tau."""
    op.execute("UPDATE runs SET linkage = planner, tau = price WHERE planner = 'calibrated'")
    op.alter_column("runs", "tau", nullable=False)
    op.alter_column("runs", "linkage", nullable=False)
    op.drop_column("runs", "price")
    op.drop_column("runs", "planner")
