"""Which pictures were also made without sharing, and how far the two are apart.

Revision 0023, after 0022.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier nights have none."""
    op.create_table(
        "pairs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("leaf", sa.Integer(), nullable=False),
        sa.Column("picture", sa.Text(), nullable=False),
        sa.Column("plain", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("evaluations", sa.Integer(), nullable=False),
        sa.Column("compared_by", sa.Text(), nullable=True),
        sa.Column("distance", sa.Float(), nullable=True),
        sa.Column("loss", sa.Float(), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("plain_score", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "leaf"],
            ["images.run_id", "images.leaf"],
            name=op.f("fk_pairs_run_id_leaf"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "leaf", name=op.f("pk_pairs")),
    )
    op.create_index(op.f("ix_pairs_picture"), "pairs", ["picture"])
    op.create_index(op.f("ix_pairs_plain"), "pairs", ["plain"])


def downgrade() -> None:
    """Their objects are no longer named."""
    op.drop_table("pairs")
