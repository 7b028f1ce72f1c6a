"""Objects that are flipped, cut, emptied, swapped or deleted, at each stage, are made again."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from sqlalchemy import text

from tasks.ledger import load_images, load_plan, load_previews, open_subtrees, summarise
from tasks.object_keys import manifest_key, preview_key, report_key
from tasks.report.check import check_night, is_published
from tasks.report.publish import Published, publish
from tasks.settings import Settings
from tasks.states import RunState
from tasks.storage import Bucket
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import (
    SmallNight,
    end_states,
    plan_small_night,
    small,
    start_over,
    write_catalogue,
)

pytestmark = pytest.mark.slow

Pixels = npt.NDArray[np.int16]
Damage = Callable[[Bucket, list[str]], None]


def flip(bucket: Bucket, keys: list[str]) -> None:
    for key in keys:
        body = bytearray(bucket.get(key))
        body[len(body) // 2] ^= 1
        bucket.put(key, bytes(body))


def cut(bucket: Bucket, keys: list[str]) -> None:
    for key in keys:
        bucket.put(key, bucket.get(key)[:-7])


def empty(bucket: Bucket, keys: list[str]) -> None:
    for key in keys:
        bucket.put(key, b"")


def swap(bucket: Bucket, keys: list[str]) -> None:
    bodies = [bucket.get(key) for key in keys]
    for key, body in zip(keys, bodies[1:] + bodies[:1], strict=True):
        bucket.put(key, body)


def delete(bucket: Bucket, keys: list[str]) -> None:
    for key in keys:
        bucket.delete(key)


DAMAGES: tuple[Damage, ...] = (flip, cut, empty, swap, delete)
FOLDERS = ("images/", "previews/", "checkpoints/")


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    torch.set_num_threads(1)
    short = small(settings, planner="paper", shards=2)
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path))


def run_open(night: SmallNight) -> int:
    """Run the subtrees that are open, as the nightly flow does; return the evaluations."""
    with night.stores.session() as session:
        waiting = open_subtrees(session, night.run)
    settings, run = night.settings, night.run
    done = [denoise_shard(night.stores, settings, run, shard, "worker") for shard in waiting]
    return sum(each.evaluations for each in done)


def make(night: SmallNight) -> Published:
    """Carry a night out as the flow does: run, check, run what was taken back, publish."""
    run_open(night)
    checked = check_night(night.stores, night.run)
    run_open(night)
    return publish(night.stores, night.settings, night.run, checked)


def assert_whole(night: SmallNight, reference: dict[str, str]) -> None:
    """All that the ledger names is there, with its digest and the bits of the undisturbed night."""
    assert end_states(night.stores, night.run) == reference
    with night.stores.session() as session:
        facts = summarise(session, night.run)
        images, previews = load_images(session, night.run), load_previews(session, night.run)
    assert facts.state is RunState.COMPLETED
    assert facts.images == facts.images_expected
    for image in images.values():
        night.stores.bucket.get(image.key, image.sha256)
    for sha256 in previews.values():
        night.stores.bucket.get(preview_key(sha256), sha256)
    assert previews


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_retry_makes_what_was_damaged_after_the_night(
    planned: SmallNight, damage: Damage
) -> None:
    assert make(planned).complete
    reference, bucket = end_states(planned.stores, planned.run), planned.stores.bucket
    for folder in FOLDERS[:2]:
        damage(bucket, list(bucket.list(folder)))
        assert not is_published(planned.stores, planned.run)
        assert make(planned).complete
        assert_whole(planned, reference)
    assert is_published(planned.stores, planned.run)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_night_makes_what_is_damaged_between_its_stages(
    planned: SmallNight, damage: Damage
) -> None:
    assert make(planned).complete
    wanted = pixels_of(planned)
    start_over(planned)
    bucket = planned.stores.bucket
    for shard in (0, 1):
        denoise_shard(planned.stores, planned.settings, planned.run, shard, "worker")
        for folder in FOLDERS:
            damage(bucket, list(bucket.list(folder)))
    run_open(planned)
    for folder in FOLDERS[:2]:
        damage(bucket, list(bucket.list(folder)))
    assert make(planned).complete
    assert_pictures(planned, wanted)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_later_night_makes_what_was_damaged_since(
    planned: SmallNight, tmp_path: Path, damage: Damage
) -> None:
    assert make(planned).complete
    wanted, bucket = pixels_of(planned), planned.stores.bucket
    for folder in FOLDERS:
        damage(bucket, list(bucket.list(folder)))
    file = write_catalogue(tmp_path)
    again = plan_small_night(planned.stores, planned.settings, file, day=date(2026, 11, 23))
    assert make(again).complete
    # Its shards are others, and with them the widths of calls, which decide last bits.
    assert_pictures(again, wanted, within=2)


def test_a_damaged_manifest_or_report_is_written_again_by_a_retry(planned: SmallNight) -> None:
    assert make(planned).complete
    for key in (manifest_key(planned.run), report_key(planned.run)):
        before = planned.stores.bucket.get(key)
        planned.stores.bucket.delete(key)
        assert not is_published(planned.stores, planned.run)
        assert make(planned).complete
        assert len(planned.stores.bucket.get(key)) > len(before) // 2
    assert is_published(planned.stores, planned.run)


@pytest.mark.parametrize("content", ["''", "substr(content, 1, 40)", "set_byte(content, 99, 7)"])
def test_damaged_embeddings_are_made_anew_where_they_are_found(
    planned: SmallNight, tmp_path: Path, content: str
) -> None:
    damage = text(f"UPDATE embeddings SET content = {content}")
    with planned.stores.session() as session:
        session.execute(damage)
    assert make(planned).complete  # found by the workers
    reference = end_states(planned.stores, planned.run)
    start_over(planned)
    assert make(planned).complete  # the same bits, from the embeddings that were made anew
    assert end_states(planned.stores, planned.run) == reference
    with planned.stores.session() as session:
        session.execute(damage)
    words = [("yellow", "mug"), ("red", "clock"), ("red", "mug")]
    file = write_catalogue(tmp_path, words)
    again = plan_small_night(planned.stores, planned.settings, file, day=date(2026, 11, 23))
    assert make(again).complete  # found in planning, founders of the first night among them
    with planned.stores.session() as session:
        assert summarise(session, again.run).images == 3


def assert_pictures(night: SmallNight, wanted: dict[str, Pixels], *, within: int = 0) -> None:
    """All pictures are there, as those of the undisturbed night but for so many levels a pixel."""
    with night.stores.session() as session:
        assert summarise(session, night.run).state is RunState.COMPLETED
    found = pixels_of(night)
    assert found.keys() == wanted.keys()
    for key, picture in found.items():
        assert int(np.abs(picture - wanted[key]).max()) <= within


def pixels_of(night: SmallNight) -> dict[str, Pixels]:
    """The pixels of a night's pictures, by content key."""
    with night.stores.session() as session:
        images, leaves = load_images(session, night.run), load_plan(session, night.run).leaves
    found = {}
    for leaf, image in images.items():
        body = night.stores.bucket.get(image.key, image.sha256)
        with Image.open(io.BytesIO(body)) as opened:
            found[leaves[leaf].content_key] = np.asarray(opened.convert("RGB"), np.int16)
    return found
