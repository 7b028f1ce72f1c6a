"""Tables of a run: its plan, the state of every part of it, its pictures and figures."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tasks.records.base import Base, choice
from tasks.states import RunState, SegmentState, SubtreeState


def _run() -> Mapped[uuid.UUID]:
    return mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


class Run(Base):
    """A night's plan and every parameter that changes its pictures."""

    __tablename__ = "runs"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), unique=True)
    recipe: Mapped[dict[str, Any]]
    planner: Mapped[str]
    linkage: Mapped[str | None]  # of the paper's trees
    tau: Mapped[float | None]  # that they were cut by
    price: Mapped[float | None]  # of a calibrated plan: excess for an evaluation
    steps: Mapped[int]
    saving_asked: Mapped[float | None]  # at most one of these two; the plan was made for it
    steps_per_image: Mapped[float | None]
    tuned: Mapped[str | None]  # the catalogue's own setting, in words, where it was planned by that
    shards: Mapped[int]  # beside the trunk
    slots: Mapped[int | None]  # rows at once, which decide last bits; null before its first worker
    state: Mapped[RunState] = mapped_column(choice(RunState), default=RunState.PLANNED)
    leaves: Mapped[int]  # that are wanted; one that is forgotten keeps its place in the order
    plan_order: Mapped[list[int]]  # leaves from left to right
    evaluations_planned: Mapped[int]
    evaluations_standard: Mapped[int]
    flow_run_id: Mapped[str | None]  # of the parent, the one to retry
    manifest_sha256: Mapped[str | None]  # of what was published; null before, and of older runs
    report_sha256: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class TreeRow(Base):
    """Prompts of one compatibility key: leaves first_leaf to first_leaf + leaves - 1."""

    __tablename__ = "trees"

    run_id: Mapped[uuid.UUID] = _run()
    index: Mapped[int] = mapped_column(primary_key=True)
    compatibility_key: Mapped[str] = mapped_column(index=True)
    recipe: Mapped[dict[str, Any]]
    first_leaf: Mapped[int]
    leaves: Mapped[int]


class LeafRow(Base):
    """One distinct picture of a run; those that are not in its order are founders without one."""

    __tablename__ = "leaves"

    run_id: Mapped[uuid.UUID] = _run()
    leaf: Mapped[int] = mapped_column(primary_key=True)
    content_key: Mapped[str] = mapped_column(index=True)
    embedding_key: Mapped[str] = mapped_column(ForeignKey("embeddings.key"), index=True)
    # Of the first picture of its text, where this is another one.
    text_key: Mapped[str | None]
    loss: Mapped[float | None]  # predicted, a share of what a plain picture misses


class NodeRow(Base):
    """A cluster of leaves; a leaf has no left and right."""

    __tablename__ = "nodes"
    __table_args__ = (
        ForeignKeyConstraint(
            ["run_id", "tree"], ["trees.run_id", "trees.index"], ondelete="CASCADE"
        ),
        Index(None, "run_id", "tree"),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    node: Mapped[int] = mapped_column(primary_key=True)
    tree: Mapped[int]
    left: Mapped[int | None]
    right: Mapped[int | None]
    height: Mapped[float]
    size: Mapped[int]


class Subtree(Base):
    """One shard of a plan, the unit that is leased, run and retried; shard 0 is the trunk."""

    __tablename__ = "subtrees"

    run_id: Mapped[uuid.UUID] = _run()
    shard: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[SubtreeState] = mapped_column(choice(SubtreeState), default=SubtreeState.WAITING)
    lease_owner: Mapped[str | None]
    lease_holder: Mapped[str | None]  # the process, see tasks.holder
    lease_until: Mapped[datetime | None]
    flow_run_id: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)  # the number of the latest lease
    crashes: Mapped[int] = mapped_column(default=0)  # in a row: leases that ran out or were retaken
    evaluations_planned: Mapped[int]
    evaluations_done: Mapped[int] = mapped_column(default=0)
    evaluations_resumed: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class SegmentRow(Base):
    """A cluster's steps; the object with `sha256` holds what they end in, latents or a picture.

    One that is done and has none ended in latents that `hierdiff gc` or `forget` has removed.
    """

    __tablename__ = "segments"
    __table_args__ = (
        ForeignKeyConstraint(
            ["run_id", "tree"], ["trees.run_id", "trees.index"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["run_id", "shard"], ["subtrees.run_id", "subtrees.shard"], ondelete="CASCADE"
        ),
        Index(None, "run_id", "tree"),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    segment: Mapped[int] = mapped_column(primary_key=True)
    tree: Mapped[int]
    node: Mapped[int]
    start: Mapped[int]
    stop: Mapped[int]
    parent: Mapped[int | None]
    first: Mapped[int]
    last: Mapped[int]
    # Leaves that steer it, where those are not the leaves from first to last.
    founders: Mapped[list[int] | None] = mapped_column(JSONB(none_as_null=True))
    key: Mapped[str] = mapped_column(index=True)
    shard: Mapped[int]
    state: Mapped[SegmentState] = mapped_column(choice(SegmentState), default=SegmentState.WAITING)
    sha256: Mapped[str | None] = mapped_column(index=True)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    # sha256 of the split's small picture, where it has one
    preview: Mapped[str | None] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    reused: Mapped[bool] = mapped_column(default=False)  # done by an earlier run
    anew: Mapped[bool] = mapped_column(default=False)  # made although an earlier run has made it
    claim: Mapped[int | None]  # number of the lease under which it is made
    failures: Mapped[int] = mapped_column(default=0)  # alone, or in flight when its worker died
    reason: Mapped[str | None]  # of the last failure
    finished_at: Mapped[datetime | None]


class FounderSum(Base):
    """What the vectors of a segment's founders sum to, by which new rows are compared with it.

    It follows from the founders alone, so runs share it; what is missing is made by who needs it.
    """

    __tablename__ = "founder_sums"

    key: Mapped[str] = mapped_column(primary_key=True)  # of segments
    units: Mapped[bool] = mapped_column(primary_key=True)  # of vectors scaled to length 1
    content: Mapped[bytes]  # float32, little-endian


class ImageRow(Base):
    """A picture in the object store."""

    __tablename__ = "images"
    __table_args__ = (
        ForeignKeyConstraint(
            ["run_id", "leaf"], ["leaves.run_id", "leaves.leaf"], ondelete="CASCADE"
        ),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    leaf: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    sha256: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RenditionRow(Base):
    """A file that was made of a picture, in another format."""

    __tablename__ = "renditions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["run_id", "leaf"], ["images.run_id", "images.leaf"], ondelete="CASCADE"
        ),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    leaf: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # such as webp-1200
    picture: Mapped[str] = mapped_column(index=True)  # sha256 of the PNG that it was made of
    made_as: Mapped[str]  # everything else that decides its bytes
    sha256: Mapped[str] = mapped_column(index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]


class PairRow(Base):
    """A picture of the sample, and what became of the same row without sharing."""

    __tablename__ = "pairs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["run_id", "leaf"], ["images.run_id", "images.leaf"], ondelete="CASCADE"
        ),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    leaf: Mapped[int] = mapped_column(primary_key=True)
    picture: Mapped[str] = mapped_column(index=True)  # sha256 of the one that shared
    plain: Mapped[str] = mapped_column(index=True)  # sha256 of the one that did not
    bytes: Mapped[int] = mapped_column(BigInteger)  # of the plain one
    evaluations: Mapped[int]  # that it took in this run; 0: an earlier one has made it
    compared_by: Mapped[str | None]  # the encoder and the judge; null before
    distance: Mapped[float | None]  # 1 - cosine of the two pictures' embeddings
    loss: Mapped[float | None]  # a share of what a plain picture misses, as the predicted one
    score: Mapped[float | None]  # by the judge, of the one that shared
    plain_score: Mapped[float | None]


class Start(Base):
    """How many processes of a flow run were started since one of them took a lease."""

    __tablename__ = "starts"

    flow_run_id: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


class RunMetric(Base):
    """The seconds of a stage of a run, summed over attempts and shards."""

    __tablename__ = "run_metrics"

    run_id: Mapped[uuid.UUID] = _run()
    stage: Mapped[str] = mapped_column(primary_key=True)
    seconds: Mapped[float]
    device: Mapped[str]
    details: Mapped[dict[str, Any]]


class EnergyRow(Base):
    """What one part of a run's workers used of energy, summed over attempts and shards."""

    __tablename__ = "run_energy"

    run_id: Mapped[uuid.UUID] = _run()
    part: Mapped[str] = mapped_column(primary_key=True)  # cpu or gpu
    joules: Mapped[float | None]  # of attempts that could measure it
    reason: Mapped[str]  # why one could not; empty where all could
