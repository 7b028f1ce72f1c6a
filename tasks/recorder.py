"""The recorder: stores what the sampler finishes while the device goes on.

Knows objects, rows and their order: first the object, then the row; a parent before its children.
Knows nothing of denoising. A few threads make and upload objects, one writes rows for all that has
arrived since it last did. So much may wait and no more: a slow bucket slows the night and does not
fill the memory.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType

from tasks.ledger import (
    Stored,
    StoredImage,
    add_evaluations,
    finish_segments,
    record_images,
    start_segments,
)
from tasks.storage import Bucket
from tasks.stores import Stores

WAITING = 64  # entries that may wait to be stored
_HANDS = 4  # threads that make and upload
_EVERY = 0.25  # seconds between two writes of rows
_QUIET = 1.0  # seconds after which rounds that finished nothing are counted


@dataclass(frozen=True)
class Object:
    """Bytes to store."""

    key: str
    body: bytes
    content_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Picture:
    """A leaf's picture to store."""

    leaf: int
    object: Object
    width: int
    height: int


@dataclass(frozen=True)
class Entry:
    """What is to be stored of a segment: its end state, its picture, or what else shows it."""

    segment: int
    checkpoint: Object | None = None
    picture: Picture | None = None
    preview: Object | None = None


@dataclass(frozen=True)
class _Kept:
    """What is known of an entry once its objects are stored."""

    segment: int
    stored: Stored | None
    leaf: int
    image: StoredImage | None


@dataclass
class _Rows:
    """What the ledger is told in one transaction."""

    started: list[int] = field(default_factory=list)
    evaluations: int = 0
    kept: list[Future[_Kept]] = field(default_factory=list)
    last: bool = False

    def add(self, other: _Rows) -> None:
        """Take in what comes after this."""
        self.started += other.started
        self.evaluations += other.evaluations
        self.kept += other.kept
        self.last = other.last


class Recorder:
    """Use as a context: leaving it waits for everything, or, after an error, for what it can."""

    def __init__(self, stores: Stores, run: uuid.UUID, shard: int) -> None:
        self.stores, self.run, self.shard = stores, run, shard
        self._hands = ThreadPoolExecutor(_HANDS, thread_name_prefix="recorder")
        self._room = threading.Semaphore(WAITING)
        self._arriving: SimpleQueue[_Rows] = SimpleQueue()
        self._noted = _Rows()
        self._noted_at = time.monotonic()
        self._fault: BaseException | None = None
        self._writer = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._writer.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._noted.last = True
        self._arriving.put(self._noted)
        self._writer.join()
        self._hands.shutdown()
        if error is None:
            self._raise_fault()

    def note(
        self, started: Sequence[int], evaluations: int, makers: Sequence[Callable[[], Entry]]
    ) -> None:
        """Take a round: what it started, what it evaluated, and how to make what it ended in.

        Makers are called on threads of the recorder. Waits while too much is waiting to be stored,
        and raises what could not be.
        """
        self._raise_fault()
        self._noted.started += started
        self._noted.evaluations += evaluations
        for make in makers:
            if not self._room.acquire(blocking=False):
                self._hand_on()  # or the room that this round takes would never be free again
                self._room.acquire()
            self._noted.kept.append(self._hands.submit(self._store, make))
        if makers or time.monotonic() - self._noted_at > _QUIET:
            self._hand_on()

    def _hand_on(self) -> None:
        self._arriving.put(self._noted)
        self._noted, self._noted_at = _Rows(), time.monotonic()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _store(self, make: Callable[[], Entry]) -> _Kept:
        self._raise_fault()
        return _store_objects(self.stores.bucket, make())

    def _write_all(self) -> None:
        while True:
            rows = self._gather()
            try:
                self._write(rows)
            except BaseException as fault:
                self._fault = self._fault or fault
            if rows.kept:
                self._room.release(len(rows.kept))
            if rows.last:
                return

    def _gather(self) -> _Rows:
        rows = self._arriving.get()
        until = time.monotonic() + _EVERY
        # Half of what may wait is enough: who waits for room should not wait for the clock.
        while not rows.last and len(rows.kept) < WAITING // 2:
            try:
                rows.add(self._arriving.get(timeout=max(0.0, until - time.monotonic())))
            except Empty:
                break
        return rows

    def _write(self, rows: _Rows) -> None:
        kept, fault = _await(rows.kept)
        done = {each.segment: each.stored for each in kept if each.stored is not None}
        images = {each.leaf: each.image for each in kept if each.image is not None}
        with self.stores.session() as session:
            if rows.started:
                start_segments(session, self.run, rows.started)
            if done:
                finish_segments(session, self.run, done)
            if images:
                record_images(session, self.run, images)
            if rows.evaluations:
                add_evaluations(session, self.run, self.shard, done=rows.evaluations)
        if fault is not None:
            raise fault


def _await(storing: Sequence[Future[_Kept]]) -> tuple[list[_Kept], BaseException | None]:
    """Return what is stored up to the first fault: what comes after it may be a child's."""
    kept: list[_Kept] = []
    fault: BaseException | None = None
    for each in storing:
        error = each.exception()
        fault = fault or error
        if fault is None:
            kept.append(each.result())
    return kept, fault


def _store_objects(bucket: Bucket, entry: Entry) -> _Kept:
    """Store an entry's objects; the checkpoint comes last, as it is what a restart asks for."""
    stored, leaf, image = None, -1, None
    if entry.preview is not None:
        _put(bucket, entry.preview)
    if entry.picture is not None:
        leaf, image = entry.picture.leaf, _row(entry.picture, _put(bucket, entry.picture.object))
    if entry.checkpoint is not None:
        stored = Stored(_put(bucket, entry.checkpoint), len(entry.checkpoint.body))
    return _Kept(entry.segment, stored, leaf, image)


def _put(bucket: Bucket, made: Object) -> str:
    return bucket.put(made.key, made.body, made.content_type)


def _row(picture: Picture, sha256: str) -> StoredImage:
    made = picture.object
    return StoredImage(made.key, sha256, len(made.body), picture.width, picture.height)
