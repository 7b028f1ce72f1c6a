"""The ledger counts processes that die before they take a lease.

Revision 0016, after 0015.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None has died."""
    op.create_table(
        "starts",
        sa.Column("flow_run_id", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("flow_run_id", name="pk_starts"),
    )


def downgrade() -> None:
    """Count no more."""
    op.drop_table("starts")
