"""The recorder beside a slow or failing bucket: memory stays bounded, and a row is a promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import pytest
import torch
from sqlalchemy import Engine

from hierdiff_core.checkpoint import State, unpack
from tasks import ledger
from tasks.errors import UnreachableStorage
from tasks.lease import leased_subtree
from tasks.object_keys import checkpoint_key
from tasks.patience import Patience
from tasks.storage import Bucket
from tasks.stores import Stores
from tasks.worker.room import WAITING
from tasks.worker.write_batch import Object, Picture, Preview, Split
from tasks.worker.writer import Writer
from tests.tasks.conftest import make_prompts, store_night

pytestmark = pytest.mark.slow

LEAVES = 150
PICTURE = 100  # bytes


@dataclass(frozen=True)
class StuckBucket(Bucket):
    """A real bucket behind a line that is shut until it is opened."""

    opened: threading.Event = field(default_factory=threading.Event)

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        self.opened.wait()
        return super().put(key, body, content_type)


@dataclass(frozen=True)
class FullBucket(Bucket):
    """A real bucket that refuses everything after some objects."""

    left: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        with self.lock:
            self.left[0] -= 1
            if self.left[0] < 0:
                raise self.place.unreachable("it is full", "wait")
        return super().put(key, body, content_type)


@dataclass(frozen=True)
class AwayBucket(Bucket):
    """A real bucket whose server is away until it is back."""

    back: threading.Event = field(default_factory=threading.Event)

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        self.patience.outlast(self._answer)
        return super().put(key, body, content_type)

    def _answer(self) -> None:
        if not self.back.is_set():
            raise self.place.unreachable("it is away", "wait")


@pytest.fixture
def large(database: Engine, bucket: Bucket) -> tuple[Stores, UUID, int]:
    """A stored run of many segments."""
    run, night = store_night(database, make_prompts(LEAVES))
    assert len(night.plan.segments) > 2 * WAITING
    return Stores(database, bucket), run, len(night.plan.segments)


@contextmanager
def writing(stores: Stores, run: UUID, memory: int = 10**6) -> Iterator[Writer]:
    """A writer of the run's first subtree, under a lease."""
    with (
        leased_subtree(stores, run, 1, "worker", 60) as hold,
        Writer(hold, run, 1, memory=memory, picture=PICTURE) as writer,
    ):
        yield writer


def split(segment: int) -> Split:
    return Split(segment, f"key {segment}", State(torch.full((2,), float(segment)), 3))


def picture(segment: int) -> Picture:
    made = Object(f"images/{segment}.png", b"pixels of %d" % segment, "image/png")
    return Picture(segment, segment, made, 64, 48)


def finished_in(stores: Stores, run: UUID) -> dict[int, ledger.StoredSegment]:
    with stores.session() as session:
        return ledger.stored_segments(session, run)


def store_one_by_one(
    stores: Stores, run: UUID, drawn: bool, noted: list[int], memory: int = 10**6
) -> None:
    with writing(stores, run, memory) as recorder:
        for segment in range(LEAVES):
            if drawn:
                recorder.note([segment], 1, makers=[partial(picture, segment)])
            else:
                recorder.note([segment], 1, [split(segment)])
                time.sleep(0.01)  # or all of them are one window
            noted.append(segment)


@pytest.mark.parametrize("drawn", [True, False])
def test_a_slow_bucket_slows_the_night_and_does_not_fill_the_memory(
    large: tuple[Stores, UUID, int], drawn: bool
) -> None:
    stores, run, _ = large
    bucket = stores.bucket
    stuck = StuckBucket(bucket.client, bucket.name)
    noted: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        night = pool.submit(store_one_by_one, replace(stores, bucket=stuck), run, drawn, noted)
        while len(noted) < WAITING and not night.done():
            time.sleep(0.01)
        time.sleep(0.2)
        waiting = len(noted)
        stuck.opened.set()
        night.result()
    assert waiting == WAITING
    assert list(finished_in(stores, run)) == list(range(LEAVES))


def test_while_a_bucket_is_away_as_much_is_held_as_the_memory_for_it(
    large: tuple[Stores, UUID, int],
) -> None:
    stores, run, _ = large
    held, patience = WAITING + 36, Patience(60)
    away = AwayBucket(stores.bucket.client, stores.bucket.name, patience=patience)
    without, noted = replace(stores, bucket=away, patience=patience), list[int]()
    with ThreadPoolExecutor(1) as pool:
        night = pool.submit(store_one_by_one, without, run, True, noted, held * PICTURE)
        while len(noted) < held and not night.done():
            time.sleep(0.01)
        time.sleep(1.0)
        waiting = len(noted)
        away.back.set()
        night.result()
    assert waiting == held
    assert list(finished_in(stores, run)) == list(range(LEAVES))


def test_one_thing_larger_than_all_the_memory_is_stored_too(
    large: tuple[Stores, UUID, int],
) -> None:
    stores, run, _ = large
    with writing(stores, run, memory=1) as recorder:
        recorder.note(range(3), 3, makers=[partial(picture, each) for each in range(3)])
    assert list(finished_in(stores, run)) == [0, 1, 2]


def test_a_round_larger_than_the_queue_is_stored_too(large: tuple[Stores, UUID, int]) -> None:
    stores, run, count = large
    with writing(stores, run) as recorder:
        recorder.note(range(count), count, [split(each) for each in range(count)])
    assert len(finished_in(stores, run)) == count


def test_splits_of_one_moment_share_an_object_that_is_named_by_its_bytes(
    large: tuple[Stores, UUID, int],
) -> None:
    stores, run, _ = large
    with writing(stores, run) as recorder:
        recorder.note(range(10), 10, [split(each) for each in range(10)])
    (name,) = stores.bucket.list()
    done = finished_in(stores, run)
    (sha256,) = {entry.sha256 for entry in done.values()}
    assert name == checkpoint_key(sha256)
    states = unpack(stores.bucket.get(name, sha256))
    assert sorted(done) == list(range(10))
    assert {key: float(state.latents[0]) for key, state in states.items()} == {
        f"key {each}": float(each) for each in range(10)
    }


def test_equal_windows_of_two_nights_have_equal_bytes_and_need_one_object(
    large: tuple[Stores, UUID, int],
) -> None:
    stores, run, _ = large
    other, _ = store_night(stores.engine, make_prompts(12), catalogue="other")
    for each in (run, other):
        with writing(stores, each) as recorder:
            recorder.note([0, 1], 2, [split(0), split(1)])
    assert len(list(stores.bucket.list())) == 1
    assert finished_in(stores, run)[0].sha256 == finished_in(stores, other)[1].sha256


@pytest.mark.parametrize("drawn", [True, False])
def test_after_a_fault_every_row_still_has_its_object_and_the_fault_is_told(
    large: tuple[Stores, UUID, int], drawn: bool
) -> None:
    stores, run, _ = large
    bucket = stores.bucket
    left = [10] if drawn else [2]
    full = replace(stores, bucket=FullBucket(bucket.client, bucket.name, left=left))
    with pytest.raises(UnreachableStorage, match="it is full"):
        store_one_by_one(full, run, drawn, [])
    done = finished_in(stores, run)
    assert 0 < len(done) < LEAVES
    assert list(done) == list(range(len(done)))  # none is done that came after the fault
    for segment, entry in done.items():
        key = f"images/{segment}.png" if drawn else checkpoint_key(entry.sha256)
        assert bucket.get(key, entry.sha256)


def test_a_leaf_is_done_when_its_picture_is_stored(large: tuple[Stores, UUID, int]) -> None:
    stores, run, _ = large
    with writing(stores, run) as recorder:
        recorder.note([7], 1, makers=[partial(picture, 7)])
    with stores.session() as session:
        image = ledger.load_images(session, run)[7]
    assert finished_in(stores, run)[7].sha256 == image.sha256
    assert (image.key, image.bytes, image.width) == ("images/7.png", 11, 64)
    assert stores.bucket.get(image.key, image.sha256) == b"pixels of 7"


def test_a_preview_is_recorded_with_its_digest(large: tuple[Stores, UUID, int]) -> None:
    stores, run, _ = large
    made = Object("previews/a.webp", b"small", "image/webp")
    with writing(stores, run) as recorder:
        recorder.note(makers=[lambda: Preview(3, made)])
    assert finished_in(stores, run) == {}
    with stores.session() as session:
        previews = ledger.load_previews(session, run)
    assert stores.bucket.get("previews/a.webp", previews[3]) == b"small"
