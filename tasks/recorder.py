"""The recorder: stores what the sampler finishes while the device goes on.

Knows objects, rows and their order: first the object, then the row; a parent before its children.
Knows nothing of denoising. One thread does it all, behind a queue of bounded length, so a slow
bucket slows the night and does not fill the memory.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

from tasks.ledger import (
    StoredImage,
    add_evaluations,
    finish_segment,
    record_image,
    start_segments,
)
from tasks.stores import Stores

_WAITING = 32  # rounds that may wait to be stored
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
    """A segment that has ended, and all that is to be stored of it."""

    segment: int
    checkpoint: Object
    picture: Picture | None = None
    preview: Object | None = None


@dataclass
class Recorder:
    """Use as a context: leaving it waits for everything, or, after an error, for what it can."""

    stores: Stores
    run: uuid.UUID
    shard: int
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="recorder")
    )
    _waiting: deque[Future[None]] = field(default_factory=deque)
    _started: list[int] = field(default_factory=list)
    _evaluations: int = 0
    _counted_at: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._submit([])
        self._pool.shutdown(wait=True)
        for each in self._waiting:
            if error is None:
                each.result()

    def note(
        self, started: Sequence[int], evaluations: int, entries: Callable[[], list[Entry]] | None
    ) -> None:
        """Take a round: what it started, what it evaluated, and how to get at what has ended.

        `entries` is called on the recorder's thread. Raises what an earlier round could not store.
        """
        self._started += started
        self._evaluations += evaluations
        if entries is not None:
            self._submit_made(entries)
        elif time.monotonic() - self._counted_at > _QUIET:
            self._submit([])

    def _submit(self, entries: list[Entry]) -> None:
        self._submit_made(lambda: entries)

    def _submit_made(self, entries: Callable[[], list[Entry]]) -> None:
        started, self._started = self._started, []
        evaluations, self._evaluations = self._evaluations, 0
        self._counted_at = time.monotonic()
        self._waiting.append(self._pool.submit(self._store, started, evaluations, entries))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > _WAITING):
            self._waiting.popleft().result()

    def _store(
        self, started: list[int], evaluations: int, entries: Callable[[], list[Entry]]
    ) -> None:
        stored = [(entry, self._put(entry)) for entry in entries()]
        with self.stores.session() as session:
            if started:
                start_segments(session, self.run, started)
            for entry, (sha256, image) in stored:
                size = len(entry.checkpoint.body)
                finish_segment(session, self.run, entry.segment, sha256, size)
                if entry.picture is not None and image is not None:
                    record_image(session, self.run, entry.picture.leaf, image)
            if evaluations:
                add_evaluations(session, self.run, self.shard, done=evaluations)

    def _put(self, entry: Entry) -> tuple[str, StoredImage | None]:
        shown = entry.preview if entry.picture is None else entry.picture.object
        if shown is not None:
            self.stores.bucket.put(shown.key, shown.body, shown.content_type)
        image = None if entry.picture is None else _row(entry.picture)
        sha256 = self.stores.bucket.put(entry.checkpoint.key, entry.checkpoint.body)
        return sha256, image


def store_picture(stores: Stores, run: uuid.UUID, entry: Entry) -> None:
    """Store an entry's picture alone, its checkpoint being there already."""
    if entry.picture is None:
        return
    made = entry.picture.object
    stores.bucket.put(made.key, made.body, made.content_type)
    with stores.session() as session:
        record_image(session, run, entry.picture.leaf, _row(entry.picture))


def _row(picture: Picture) -> StoredImage:
    """Return the row of a picture; its key ends in the digest of its bytes."""
    body = picture.object.body
    sha256 = picture.object.key.removeprefix("images/").removesuffix(".png")
    return StoredImage(picture.object.key, sha256, len(body), picture.width, picture.height)
