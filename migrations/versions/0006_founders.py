"""A segment may be steered by founders that are not its members: those of an earlier night.

Revision 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the founders; without them a segment's members steer it, as before."""
    op.add_column("segments", sa.Column("founders", JSONB(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Forget them; runs that stand on earlier nights could not be gone on with."""
    op.execute(
        "DELETE FROM runs WHERE id IN (SELECT run_id FROM segments WHERE founders IS NOT NULL)"
    )
    op.drop_column("segments", "founders")
