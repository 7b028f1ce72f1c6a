"""What steers may lie in the object store: an embedding's row then holds its vector alone.

Revision 0019, after 0018.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Until here every row holds all of its embedding."""
    op.add_column("embeddings", sa.Column("object", sa.Text(), nullable=True))
    op.create_index(op.f("ix_embeddings_object"), "embeddings", ["object"])
    op.add_column("embeddings", sa.Column("object_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Forget the objects: embeddings that lie there count as damaged and are made anew."""
    op.execute("UPDATE embeddings SET sha256 = '' WHERE object IS NOT NULL")
    op.drop_column("embeddings", "object_bytes")
    op.drop_index(op.f("ix_embeddings_object"), "embeddings")
    op.drop_column("embeddings", "object")
