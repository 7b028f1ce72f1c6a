"""A night counts how often in a row its flow run died, as a subtree does.

Revision 0010, after 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count from none."""
    op.add_column("batches", sa.Column("crashes", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("batches", "crashes", server_default=None)


def downgrade() -> None:
    """Count no more."""
    op.drop_column("batches", "crashes")
