"""Of two runs at once with an equal segment, one makes it: segments are claimed.

Revision 0013, after 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is claimed."""
    op.add_column("segments", sa.Column("claim", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Equal segments of two runs are made twice."""
    op.drop_column("segments", "claim")
