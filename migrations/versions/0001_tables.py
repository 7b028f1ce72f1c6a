"""The first tables: nights, plans, and how far each part of them has come.

Revision 0001, the first.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INTEGER, BIG, TEXT, REAL = sa.Integer(), sa.BigInteger(), sa.Text(), sa.Float(53)
TIME, UUID, JSON = sa.DateTime(timezone=True), sa.Uuid(), JSONB()


def upgrade() -> None:
    """Make all tables, each after those that it points to."""
    _make_night_tables()
    _make_run_tables()
    _make_plan_tables()
    _make_progress_tables()


def downgrade() -> None:
    """Drop all tables, each before those that it points to."""
    for table in ("run_metrics", "images", "segments", "subtrees", "nodes", "leaves", "trees"):
        op.drop_table(table)
    for table in ("runs", "embeddings", "prompts", "rejected_rows", "batches", "catalogues"):
        op.drop_table(table)


def _make_night_tables() -> None:
    op.create_table(
        "catalogues",
        _column("id", INTEGER),
        _column("name", TEXT),
        _now("created_at"),
        _primary("catalogues", "id"),
        _unique("catalogues", "name"),
    )
    op.create_table(
        "batches",
        _column("id", INTEGER),
        _column("catalogue_id", INTEGER),
        _column("business_date", sa.Date()),
        _state("batches", "claimed", "ingested"),
        _maybe("lease_owner", TEXT),
        _maybe("lease_until", TIME),
        _now("created_at"),
        _primary("batches", "id"),
        _unique("batches", "catalogue_id", "business_date"),
        _foreign("batches", ["catalogue_id"], ["catalogues.id"]),
    )
    op.create_table(
        "rejected_rows",
        _column("id", INTEGER),
        _column("batch_id", INTEGER),
        _column("row", INTEGER),
        _column("reason", TEXT),
        _primary("rejected_rows", "id"),
        _foreign("rejected_rows", ["batch_id"], ["batches.id"]),
    )
    _index("rejected_rows", "batch_id")
    op.create_table(
        "prompts",
        _column("id", INTEGER),
        _column("batch_id", INTEGER),
        _column("row", INTEGER),
        _column("reference", TEXT),
        _column("text", TEXT),
        _column("content_key", TEXT),
        _column("recipe", JSON),
        _primary("prompts", "id"),
        _unique("prompts", "batch_id", "row"),
        _foreign("prompts", ["batch_id"], ["batches.id"]),
    )


def _make_run_tables() -> None:
    op.create_table(
        "embeddings",
        _column("key", TEXT),
        _column("content", sa.LargeBinary()),
        _column("sha256", TEXT),
        _now("created_at"),
        _primary("embeddings", "key"),
    )
    op.create_table(
        "runs",
        _column("id", UUID),
        _column("batch_id", INTEGER),
        _column("recipe", JSON),
        _column("linkage", TEXT),
        _column("tau", REAL),
        _column("steps", INTEGER),
        _maybe("saving_asked", REAL),
        _maybe("steps_per_image", REAL),
        _column("shards", INTEGER),
        _state("runs", "planned", "running", "completed", "failed"),
        _column("leaves", INTEGER),
        _column("plan_order", JSON),
        _column("evaluations_planned", INTEGER),
        _column("evaluations_standard", INTEGER),
        _maybe("flow_run_id", TEXT),
        _now("created_at"),
        _maybe("finished_at", TIME),
        _primary("runs", "id"),
        _unique("runs", "batch_id"),
        _foreign("runs", ["batch_id"], ["batches.id"]),
    )


def _make_plan_tables() -> None:
    op.create_table(
        "trees",
        _column("run_id", UUID),
        _column("index", INTEGER),
        _column("compatibility_key", TEXT),
        _column("recipe", JSON),
        _column("first_leaf", INTEGER),
        _column("leaves", INTEGER),
        _primary("trees", "run_id", "index"),
        _foreign("trees", ["run_id"], ["runs.id"]),
    )
    op.create_table(
        "leaves",
        _column("run_id", UUID),
        _column("leaf", INTEGER),
        _column("content_key", TEXT),
        _column("embedding_key", TEXT),
        _primary("leaves", "run_id", "leaf"),
        _foreign("leaves", ["run_id"], ["runs.id"]),
        # Without a cascade: an embedding that a plan rests on cannot be deleted.
        _foreign("leaves", ["embedding_key"], ["embeddings.key"], ondelete=None),
    )
    op.create_table(
        "nodes",
        _column("run_id", UUID),
        _column("node", INTEGER),
        _column("tree", INTEGER),
        _maybe("left", INTEGER),
        _maybe("right", INTEGER),
        _column("score", REAL),
        _column("size", INTEGER),
        _primary("nodes", "run_id", "node"),
        _foreign("nodes", ["run_id", "tree"], ["trees.run_id", "trees.index"]),
    )


def _make_progress_tables() -> None:
    _make_subtrees()
    _make_segments()
    op.create_table(
        "images",
        _column("run_id", UUID),
        _column("leaf", INTEGER),
        _column("key", TEXT),
        _column("sha256", TEXT),
        _column("bytes", BIG),
        _column("width", INTEGER),
        _column("height", INTEGER),
        _now("created_at"),
        _primary("images", "run_id", "leaf"),
        _foreign("images", ["run_id", "leaf"], ["leaves.run_id", "leaves.leaf"]),
    )
    _index("images", "key")
    op.create_table(
        "run_metrics",
        _column("run_id", UUID),
        _column("stage", TEXT),
        _column("seconds", REAL),
        _column("device", TEXT),
        _column("details", JSON),
        _primary("run_metrics", "run_id", "stage"),
        _foreign("run_metrics", ["run_id"], ["runs.id"]),
    )


def _make_subtrees() -> None:
    op.create_table(
        "subtrees",
        _column("run_id", UUID),
        _column("shard", INTEGER),
        _state("subtrees", "waiting", "running", "completed", "failed"),
        _maybe("lease_owner", TEXT),
        _maybe("lease_until", TIME),
        _maybe("flow_run_id", TEXT),
        _column("attempts", INTEGER),
        _column("crashes", INTEGER),
        _column("evaluations_planned", INTEGER),
        _column("evaluations_done", INTEGER),
        _column("evaluations_resumed", INTEGER),
        _maybe("error", TEXT),
        _maybe("started_at", TIME),
        _maybe("finished_at", TIME),
        _primary("subtrees", "run_id", "shard"),
        _foreign("subtrees", ["run_id"], ["runs.id"]),
    )


def _make_segments() -> None:
    op.create_table(
        "segments",
        _column("run_id", UUID),
        _column("segment", INTEGER),
        _column("tree", INTEGER),
        _column("node", INTEGER),
        _column("start", INTEGER),
        _column("stop", INTEGER),
        _maybe("parent", INTEGER),
        _column("first", INTEGER),
        _column("last", INTEGER),
        _column("key", TEXT),
        _column("shard", INTEGER),
        _state("segments", "waiting", "running", "done"),
        _maybe("sha256", TEXT),
        _maybe("bytes", BIG),
        _column("attempts", INTEGER),
        _column("reused", sa.Boolean()),
        _maybe("finished_at", TIME),
        _primary("segments", "run_id", "segment"),
        _foreign("segments", ["run_id", "tree"], ["trees.run_id", "trees.index"]),
        _foreign("segments", ["run_id", "shard"], ["subtrees.run_id", "subtrees.shard"]),
    )
    _index("segments", "key")


# The names below are spelled out, not taken from the models: a migration stays as it was.
def _column(name: str, kind: TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _maybe(name: str, kind: TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _now(name: str) -> sa.Column[Any]:
    return sa.Column(name, TIME, server_default=sa.func.now(), nullable=False)


def _state(table: str, *states: str) -> sa.Column[Any]:
    choices = ", ".join(f"'{state}'" for state in states)
    check = sa.CheckConstraint(f"state IN ({choices})", name=op.f(f"ck_{table}_state"))
    return sa.Column("state", sa.String(16), check, nullable=False)


def _primary(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def _foreign(
    table: str, columns: list[str], targets: list[str], ondelete: str | None = "CASCADE"
) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{'_'.join(columns)}")
    return sa.ForeignKeyConstraint(columns, targets, name=name, ondelete=ondelete)


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))
