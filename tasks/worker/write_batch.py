"""A write batch: what is stored, and entered in the ledger, together and in which order.

First the object, then the row; a parent before its children. The states of a batch's splits are one
object, for an object costs the same few milliseconds whatever it holds.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from hierdiff_core.checkpoint import State, pack
from tasks.lease import Hold
from tasks.ledger import (
    Stored,
    StoredImage,
    add_evaluations,
    fail_segments,
    finish_segments,
    note_progress,
    park_segments,
    record_images,
    record_previews,
    start_segments,
)
from tasks.object_keys import checkpoint_key
from tasks.storage import Bucket


@dataclass(frozen=True)
class Split:
    """A split's end state to store."""

    segment: int
    key: str  # the segment's, under which the state is found inside its object
    state: State

    @property
    def bytes(self) -> int:
        """The memory that it takes while it waits."""
        return sum(each.nbytes for each in (self.state.latents, *self.state.history))


@dataclass(frozen=True)
class Object:
    """Bytes to store."""

    key: str
    body: bytes
    content_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Picture:
    """A leaf's picture to store, which is its segment's end state."""

    segment: int
    leaf: int
    object: Object
    width: int  # pixels
    height: int


@dataclass(frozen=True)
class Unmade:
    """What cannot be stored, since it failed alone: a leaf's picture."""

    segment: int
    reason: str


@dataclass(frozen=True)
class Preview:
    """A split's small picture to store."""

    segment: int
    object: Object


Maker = Callable[[], Picture | Preview | Unmade | None]


@dataclass(frozen=True)
class Drawn:
    """The ledger's entry for a picture once it is stored."""

    segment: int
    leaf: int
    image: StoredImage


@dataclass(frozen=True)
class Previewed:
    """The ledger's entry for a preview once it is stored."""

    segment: int
    sha256: str


Made = Drawn | Previewed | Unmade | None


@dataclass
class WriteBatch:
    """What has arrived since rows were last written."""

    started: list[int] = field(default_factory=list)
    evaluations: int = 0
    splits: list[Split] = field(default_factory=list)
    parked: list[Split] = field(default_factory=list)  # states of segments that have not ended
    made: list[Future[Made]] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)  # reasons, by segment
    last: bool = False

    @property
    def size(self) -> int:
        """Splits, pictures and previews, each of which takes room while it waits."""
        return len(self.splits) + len(self.made)

    def add(self, other: WriteBatch) -> None:
        """Take in what comes after this."""
        self.started += other.started
        self.evaluations += other.evaluations
        self.splits += other.splits
        self.parked += other.parked
        self.made += other.made
        self.failed |= other.failed
        self.last = other.last


def store_made(bucket: Bucket, made: Picture | Preview | Unmade | None) -> Made:
    """Store what a maker made; return its entry for the ledger."""
    if made is None or isinstance(made, Unmade):
        return made
    sha256 = _put(bucket, made.object)
    if isinstance(made, Preview):
        return Previewed(made.segment, sha256)
    image = StoredImage(made.object.key, sha256, len(made.object.body), made.width, made.height)
    return Drawn(made.segment, made.leaf, image)


@dataclass
class _Kept:
    """What is stored of a batch, and the error that ended it."""

    done: dict[int, Stored] = field(default_factory=dict)  # by segment
    parked: dict[int, Stored] = field(default_factory=dict)  # by segment
    images: dict[int, StoredImage] = field(default_factory=dict)  # by leaf
    previews: dict[int, str] = field(default_factory=dict)  # sha256 by segment
    failed: dict[int, str] = field(default_factory=dict)  # reasons by segment
    fault: BaseException | None = None


def write_batch(hold: Hold, run: uuid.UUID, shard: int, batch: WriteBatch) -> None:
    """Store the splits, wait for what is being made, then write the rows of all in one transaction.

    Where something cannot be stored, rows are written of what came before it, since what comes
    after it may be a child's, and the fault is raised. Both stores are waited for.
    """
    kept = _keep(hold.stores.bucket, batch)
    # Where the line is cut just as a transaction ends, its evaluations may be counted twice.
    hold.stores.patience.outlast(lambda: _write_rows(hold, run, shard, batch, kept))
    if kept.fault is not None:
        raise kept.fault


def _write_rows(hold: Hold, run: uuid.UUID, shard: int, batch: WriteBatch, kept: _Kept) -> None:
    with hold.session() as session:
        if batch.started:
            start_segments(session, run, batch.started)
        if kept.done:
            finish_segments(session, run, kept.done)
            note_progress(session, run, shard)
        if kept.parked:
            park_segments(session, run, kept.parked)
        if kept.images:
            record_images(session, run, kept.images)
        if kept.previews:
            record_previews(session, run, kept.previews)
        if kept.failed:
            fail_segments(session, run, kept.failed)
        if batch.evaluations:
            add_evaluations(session, run, shard, done=batch.evaluations)


def _keep(bucket: Bucket, batch: WriteBatch) -> _Kept:
    kept = _Kept(failed=dict(batch.failed))
    try:
        kept.done |= _store_splits(bucket, batch.splits)
        kept.parked |= _store_splits(bucket, batch.parked)
        for future in batch.made:
            made = future.result()
            if isinstance(made, Unmade):
                kept.failed[made.segment] = made.reason
            elif isinstance(made, Previewed):
                kept.previews[made.segment] = made.sha256
            elif made is not None:
                kept.done[made.segment] = Stored(made.image.sha256, made.image.bytes)
                kept.images[made.leaf] = made.image
    except BaseException as fault:
        kept.fault = fault
    return kept


def _store_splits(bucket: Bucket, splits: Sequence[Split]) -> dict[int, Stored]:
    """Store states as one object, named by its bytes; return it for each of their segments."""
    if not splits:
        return {}
    body = pack({split.key: split.state for split in splits})
    sha256 = _put(bucket, Object(checkpoint_key(hashlib.sha256(body).hexdigest()), body))
    return dict.fromkeys((split.segment for split in splits), Stored(sha256, len(body)))


def _put(bucket: Bucket, made: Object) -> str:
    return bucket.put(made.key, made.body, made.content_type)
