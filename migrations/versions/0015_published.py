"""A run knows the digests of its manifest and its report.

Revision 0015, after 0014.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those of earlier runs are not known."""
    op.add_column("runs", sa.Column("manifest_sha256", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("report_sha256", sa.Text(), nullable=True))


def downgrade() -> None:
    """Manifests and reports are only looked for."""
    op.drop_column("runs", "report_sha256")
    op.drop_column("runs", "manifest_sha256")
