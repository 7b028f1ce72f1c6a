"""A lease belongs to a process, and has a number that grows with every taker.

Revision 0009, after 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name the holder beside the owner; a night's leases are numbered, as a subtree's are."""
    op.add_column("subtrees", sa.Column("lease_holder", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("lease_holder", sa.Text(), nullable=True))
    attempts = sa.Column("attempts", sa.Integer(), nullable=False, server_default="0")
    op.add_column("batches", attempts)
    op.alter_column("batches", "attempts", server_default=None)


def downgrade() -> None:
    """Leases belong to owners alone."""
    op.drop_column("batches", "attempts")
    op.drop_column("batches", "lease_holder")
    op.drop_column("subtrees", "lease_holder")
