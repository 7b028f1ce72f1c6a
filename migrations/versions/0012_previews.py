"""What is read back is checked against its digest: previews have one, too.

Revision 0012, after 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Previews that were made before are made anew where their subtree is run again."""
    op.add_column("segments", sa.Column("preview", sa.Text(), nullable=True))


def downgrade() -> None:
    """Trust previews unchecked."""
    op.drop_column("segments", "preview")
