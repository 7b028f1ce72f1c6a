"""A segment may be left between two steps, when its worker is stopped, and is gone on with there.

Revision 0021, after 0020.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name the new state."""
    _states("waiting", "running", "parked", "done", "failed")


def downgrade() -> None:
    """Let what is parked be started again; its steps so far are taken anew."""
    op.execute(
        "UPDATE segments SET state = 'waiting', sha256 = NULL, bytes = NULL WHERE state = 'parked'"
    )
    _states("waiting", "running", "done", "failed")


def _states(*states: str) -> None:
    name = op.f("ck_segments_state")
    op.drop_constraint(name, "segments", type_="check")
    choices = ", ".join(f"'{state}'" for state in states)
    op.create_check_constraint(name, "segments", f"state IN ({choices})")
