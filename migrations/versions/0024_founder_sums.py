"""What the founders of a segment sum to is kept, so that a night needs not read every vector.

Revision 0024, after 0023.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The next night of a recipe fills it for what stands."""
    op.create_table(
        "founder_sums",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("units", sa.Boolean(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", "units", name=op.f("pk_founder_sums")),
    )
    # Random numbers are not compressed in vain, and most sums fit into their row's page.
    op.execute("ALTER TABLE founder_sums ALTER COLUMN content SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE founder_sums SET (toast_tuple_target = 8160)")


def downgrade() -> None:
    """Every vector is read again."""
    op.drop_table("founder_sums")
