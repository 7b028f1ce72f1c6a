"""Nights find what earlier ones have made by recipe and by content.

Revision 0008, after 0007.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index what is looked up in every night."""
    op.create_index("ix_trees_compatibility_key", "trees", ["compatibility_key"])
    op.create_index("ix_leaves_content_key", "leaves", ["content_key"])


def downgrade() -> None:
    """Drop the indexes."""
    op.drop_index("ix_leaves_content_key", "leaves")
    op.drop_index("ix_trees_compatibility_key", "trees")
