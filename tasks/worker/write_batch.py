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
    record_images,
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


Maker = Callable[[], Picture | Object | Unmade | None]  # a bare Object gets no row


@dataclass(frozen=True)
class Drawn:
    """The ledger's entry for a picture once it is stored."""

    segment: int
    leaf: int
    image: StoredImage


@dataclass
class WriteBatch:
    """What has arrived since rows were last written."""

    started: list[int] = field(default_factory=list)
    evaluations: int = 0
    splits: list[Split] = field(default_factory=list)
    made: list[Future[Drawn | Unmade | None]] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)  # reasons, by segment
    last: bool = False

    @property
    def size(self) -> int:
        """Splits, pictures and bare objects, each of which takes room while it waits."""
        return len(self.splits) + len(self.made)

    def add(self, other: WriteBatch) -> None:
        """Take in what comes after this."""
        self.started += other.started
        self.evaluations += other.evaluations
        self.splits += other.splits
        self.made += other.made
        self.failed |= other.failed
        self.last = other.last


def store_made(bucket: Bucket, made: Picture | Object | Unmade | None) -> Drawn | Unmade | None:
    """Store what a maker made; return its entry for the ledger, None for a bare object."""
    if made is None or isinstance(made, Unmade):
        return made
    if isinstance(made, Object):
        _put(bucket, made)
        return None
    sha256, size = _put(bucket, made.object), len(made.object.body)
    image = StoredImage(made.object.key, sha256, size, made.width, made.height)
    return Drawn(made.segment, made.leaf, image)


def write_batch(hold: Hold, run: uuid.UUID, shard: int, batch: WriteBatch) -> None:
    """Store the splits, wait for what is being made, then write the rows of all in one transaction.

    Where something cannot be stored, rows are written of what came before it, since what comes
    after it may be a child's, and the fault is raised.
    """
    done, images, failed, fault = _keep(hold.stores.bucket, batch)
    with hold.session() as session:
        if batch.started:
            start_segments(session, run, batch.started)
        if done:
            finish_segments(session, run, done)
            note_progress(session, run, shard)
        if images:
            record_images(session, run, images)
        if failed:
            fail_segments(session, run, failed)
        if batch.evaluations:
            add_evaluations(session, run, shard, done=batch.evaluations)
    if fault is not None:
        raise fault


def _keep(
    bucket: Bucket, batch: WriteBatch
) -> tuple[dict[int, Stored], dict[int, StoredImage], dict[int, str], BaseException | None]:
    """Return what is stored, by segment; its pictures, by leaf; what failed; and the error."""
    done: dict[int, Stored] = {}
    images: dict[int, StoredImage] = {}
    failed = dict(batch.failed)
    try:
        done |= _store_splits(bucket, batch.splits)
        for future in batch.made:
            drawn = future.result()
            if isinstance(drawn, Unmade):
                failed[drawn.segment] = drawn.reason
            elif drawn is not None:
                done[drawn.segment] = Stored(drawn.image.sha256, drawn.image.bytes)
                images[drawn.leaf] = drawn.image
    except BaseException as fault:
        return done, images, failed, fault
    return done, images, failed, None


def _store_splits(bucket: Bucket, splits: Sequence[Split]) -> dict[int, Stored]:
    """Store states as one object, named by its bytes; return it for each of their segments."""
    if not splits:
        return {}
    body = pack({split.key: split.state for split in splits})
    sha256 = _put(bucket, Object(checkpoint_key(hashlib.sha256(body).hexdigest()), body))
    return dict.fromkeys((split.segment for split in splits), Stored(sha256, len(body)))


def _put(bucket: Bucket, made: Object) -> str:
    return bucket.put(made.key, made.body, made.content_type)
