"""A row may have several pictures, and a rejected one another.

Revision 0017, after 0016.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every picture so far is its row's first one, with the seed of its recipe."""
    op.add_column("prompts", sa.Column("number", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("prompts", sa.Column("own_seed", sa.BigInteger(), nullable=True))
    op.add_column("prompts", sa.Column("remade_seed", sa.BigInteger(), nullable=True))
    op.add_column(
        "prompts", sa.Column("anew", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.alter_column("prompts", "number", server_default=None)
    op.alter_column("prompts", "anew", server_default=None)
    op.drop_constraint("uq_prompts_batch_id_row", "prompts")
    op.create_unique_constraint(
        "uq_prompts_batch_id_row_number", "prompts", ["batch_id", "row", "number"]
    )
    op.add_column("leaves", sa.Column("text_key", sa.Text(), nullable=True))
    op.add_column(
        "segments", sa.Column("anew", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.alter_column("segments", "anew", server_default=None)
    op.create_table(
        "remakes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("catalogue_id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text_key", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["catalogue_id"],
            ["catalogues.id"],
            name="fk_remakes_catalogue_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_remakes"),
    )
    op.create_index("ix_remakes_catalogue_id_text_key", "remakes", ["catalogue_id", "text_key"])


def downgrade() -> None:
    """Forget remakes; nights with several pictures of a row keep the first one of each."""
    op.drop_table("remakes")
    op.drop_column("segments", "anew")
    op.drop_column("leaves", "text_key")
    op.execute("DELETE FROM prompts WHERE number > 1")
    op.drop_constraint("uq_prompts_batch_id_row_number", "prompts")
    op.create_unique_constraint("uq_prompts_batch_id_row", "prompts", ["batch_id", "row"])
    for column in ("anew", "remade_seed", "own_seed", "number"):
        op.drop_column("prompts", column)
