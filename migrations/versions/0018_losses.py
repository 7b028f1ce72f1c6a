"""What a picture is predicted to lose by sharing steps is kept with it.

Revision 0018, after 0017.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is known of earlier runs."""
    op.add_column("leaves", sa.Column("loss", sa.Float(53), nullable=True))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("leaves", "loss")
