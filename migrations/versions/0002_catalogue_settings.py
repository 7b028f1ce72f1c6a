"""A catalogue may have settings of its own, and a run records which of them it was planned with.

Revision 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two columns; what is there already was planned by the environment's settings."""
    op.add_column("catalogues", sa.Column("settings", JSONB(), nullable=True))
    op.add_column("runs", sa.Column("tuned", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the two columns."""
    op.drop_column("runs", "tuned")
    op.drop_column("catalogues", "settings")
