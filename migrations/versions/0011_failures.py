"""A segment that fails alone is set aside with its reason; its subtree ends incomplete.

Revision 0011, after 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count a segment's failures, keep the last one's reason, and name the two new states."""
    failures = sa.Column("failures", sa.Integer(), server_default="0", nullable=False)
    op.add_column("segments", failures)
    op.alter_column("segments", "failures", server_default=None)
    op.add_column("segments", sa.Column("reason", sa.Text(), nullable=True))
    _states("segments", "waiting", "running", "done", "failed")
    _states("subtrees", "waiting", "running", "completed", "incomplete", "failed")


def downgrade() -> None:
    """Let what is set aside wait again; subtrees that ended without it have failed."""
    op.execute("UPDATE segments SET state = 'waiting' WHERE state = 'failed'")
    op.execute("UPDATE subtrees SET state = 'failed' WHERE state = 'incomplete'")
    _states("subtrees", "waiting", "running", "completed", "failed")
    _states("segments", "waiting", "running", "done")
    op.drop_column("segments", "reason")
    op.drop_column("segments", "failures")


def _states(table: str, *states: str) -> None:
    name = op.f(f"ck_{table}_state")
    op.drop_constraint(name, table, type_="check")
    choices = ", ".join(f"'{state}'" for state in states)
    op.create_check_constraint(name, table, f"state IN ({choices})")
