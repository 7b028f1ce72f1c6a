"""Recipes name their model's family, and what only that family asks for stands beside the rest.

A node has a height; scores are a judge's.

Until here every recipe was of Kandinsky 2.2, so that is what all of them are given.

Revision 0004, after 0003.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = ("runs", "trees", "prompts")
_MEASURED_ON = (
    "guidance", "prior_guidance", "prior_steps", "height", "width", "initial_noise", "revision",
)  # fmt: skip


def upgrade() -> None:
    """Name the family, and what pins the text side by its general name."""
    _rename_in_nodes("score", "height")
    for table in _TABLES:
        op.execute(
            f"UPDATE {table} SET recipe = (recipe - 'prior_revision') || jsonb_build_object("
            "'family', 'kandinsky22', 'text_revision', recipe->'prior_revision')"
        )
    old = ", ".join(f"'{name}'" for name in (*_MEASURED_ON, "prior_revision"))
    measured = ", ".join(f"'{name}', settings->'{name}'" for name in _MEASURED_ON)
    op.execute(
        f"UPDATE catalogues SET settings = (settings - ARRAY[{old}]) || jsonb_build_object("
        f"'measured_on', jsonb_build_object({measured},"
        " 'text_revision', settings->'prior_revision'))"
        " WHERE settings IS NOT NULL AND NOT settings ? 'measured_on'"
    )


def downgrade() -> None:
    """Put all of it back under its old name."""
    _rename_in_nodes("height", "score")
    for table in _TABLES:
        op.execute(
            f"UPDATE {table} SET recipe = (recipe - 'family' - 'text_revision') ||"
            " jsonb_build_object('prior_revision', recipe->'text_revision')"
        )
    op.execute(
        "UPDATE catalogues SET settings = (settings - 'measured_on') ||"
        " (settings->'measured_on') - 'text_revision' || jsonb_build_object("
        "'prior_revision', settings->'measured_on'->'text_revision')"
        " WHERE settings ? 'measured_on'"
    )


def _rename_in_nodes(old: str, new: str) -> None:
    # PostgreSQL 18 names NOT NULL after the column and keeps that name, so it is set anew.
    op.alter_column("nodes", old, new_column_name=new, nullable=True)
    op.alter_column("nodes", new, nullable=False)
