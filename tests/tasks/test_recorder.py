"""The recorder beside a slow or failing bucket: memory stays bounded, and a row is a promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Engine

from tasks import ledger
from tasks.errors import UnreachableStorage
from tasks.recorder import WAITING, Entry, Object, Picture, Recorder
from tasks.storage import Bucket
from tasks.stores import Stores
from tests.tasks.conftest import make_prompts, store_night

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class SlowBucket(Bucket):
    """A real bucket behind a slow line."""

    seconds: float = 0.01

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        time.sleep(self.seconds)
        return super().put(key, body, content_type)


@dataclass(frozen=True)
class FullBucket(Bucket):
    """A real bucket that refuses everything after some objects."""

    left: list[int] = field(default_factory=lambda: [10])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        with self.lock:
            self.left[0] -= 1
            if self.left[0] < 0:
                raise UnreachableStorage(bucket=self.name, endpoint="here", reason="it is full")
        return super().put(key, body, content_type)


@pytest.fixture
def large(database: Engine, bucket: Bucket) -> tuple[Stores, UUID, int]:
    """A stored run of many segments."""
    run, night = store_night(database, make_prompts(150))
    assert len(night.plan.segments) > 2 * WAITING
    return Stores(database, bucket), run, len(night.plan.segments)


def make(made: list[int], segment: int) -> Entry:
    made.append(segment)
    return Entry(segment, Object(f"checkpoints/{segment}", b"latents of %d" % segment))


def finished_in(stores: Stores, run: UUID) -> dict[int, ledger.Finished]:
    with stores.session() as session:
        return ledger.finished(session, run)


def makers(made: list[int], segments: range) -> list[Callable[[], Entry]]:
    return [partial(make, made, segment) for segment in segments]


def store_one_by_one(stores: Stores, run: UUID, count: int) -> None:
    with Recorder(stores, run, 1) as recorder:
        for segment in range(count):
            recorder.note([segment], 1, makers([], range(segment, segment + 1)))


def test_a_slow_bucket_slows_the_night_and_does_not_fill_the_memory(
    large: tuple[Stores, UUID, int],
) -> None:
    stores, run, count = large
    bucket = stores.bucket
    slow = replace(stores, bucket=SlowBucket(bucket.client, bucket.name, bucket.prefix))
    made: list[int] = []
    most = 0
    with Recorder(slow, run, 1) as recorder:
        for segment in range(count):
            recorder.note([segment], 1, makers(made, range(segment, segment + 1)))
            most = max(most, segment + 1 - len(finished_in(stores, run)))
    assert most <= WAITING + 1  # the one that was let in last
    assert most > WAITING // 2  # the queue was used
    assert sorted(made) == sorted(finished_in(stores, run)) == list(range(count))


def test_a_round_larger_than_the_queue_is_stored_too(large: tuple[Stores, UUID, int]) -> None:
    stores, run, count = large
    made: list[int] = []
    with Recorder(stores, run, 1) as recorder:
        recorder.note(range(count), count, makers(made, range(count)))
    assert len(finished_in(stores, run)) == count


def test_after_a_fault_every_row_still_has_its_object_and_the_fault_is_told(
    large: tuple[Stores, UUID, int],
) -> None:
    stores, run, count = large
    bucket = stores.bucket
    full = replace(stores, bucket=FullBucket(bucket.client, bucket.name, bucket.prefix))
    with pytest.raises(UnreachableStorage, match="it is full"):
        store_one_by_one(full, run, count)
    done = finished_in(stores, run)
    assert len(done) <= 10
    assert list(done) == list(range(len(done)))  # none is done that came after the fault
    for segment, entry in done.items():
        bucket.get(f"checkpoints/{segment}", entry.sha256)


def test_a_picture_may_come_after_its_checkpoint(large: tuple[Stores, UUID, int]) -> None:
    stores, run, _ = large
    picture = Picture(3, Object("images/abc.png", b"pixels", "image/png"), 64, 48)
    with Recorder(stores, run, 1) as recorder:
        recorder.note([7], 1, makers([], range(7, 8)))
        recorder.note([], 0, [lambda: Entry(7, picture=picture)])
    with stores.session() as session:
        images = ledger.load_images(session, run)
    assert list(finished_in(stores, run)) == [7]
    assert (images[3].key, images[3].bytes, images[3].width) == ("images/abc.png", 6, 64)
    assert stores.bucket.get("images/abc.png", images[3].sha256) == b"pixels"
