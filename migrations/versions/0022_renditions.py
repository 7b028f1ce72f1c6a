"""Which files were made of a picture for those who use it.

Revision 0022, after 0021.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier nights have none."""
    op.create_table(
        "renditions",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("leaf", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("picture", sa.Text(), nullable=False),
        sa.Column("made_as", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "leaf"],
            ["images.run_id", "images.leaf"],
            name=op.f("fk_renditions_run_id_leaf"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "leaf", "name", name=op.f("pk_renditions")),
    )
    op.create_index(op.f("ix_renditions_picture"), "renditions", ["picture"])
    op.create_index(op.f("ix_renditions_sha256"), "renditions", ["sha256"])


def downgrade() -> None:
    """Their objects are no longer named."""
    op.drop_table("renditions")
