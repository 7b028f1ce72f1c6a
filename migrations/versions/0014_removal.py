"""Nights can be removed: who names an object, and what belongs to a tree, is found by an index.

Revision 0014, after 0013.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEXES = (
    ("segments", "sha256"),
    ("segments", "preview"),
    ("images", "sha256"),
    ("leaves", "embedding_key"),
    # Removing a tree looks for what belongs to it; a night may have as many trees as pictures.
    ("segments", "run_id", "tree"),
    ("nodes", "run_id", "tree"),
)


def upgrade() -> None:
    """Pictures are looked up by their digest now, as all objects are, and never by their key."""
    op.drop_index(op.f("ix_images_key"), "images")
    for table, *columns in _INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)


def downgrade() -> None:
    """Nothing is looked up by its digest."""
    for table, *columns in _INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
    op.create_index(op.f("ix_images_key"), "images", ["key"])
