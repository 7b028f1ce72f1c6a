"""Objects that are flipped, cut, emptied, swapped or deleted, at each stage, are made again.

The table is `DAMAGES` times `STAGES`, each time of every kind of object that there is by then.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from sqlalchemy import text

from tasks import stages
from tasks.errors import LostEmbeddings
from tasks.ledger import load_images, load_plan, load_previews, open_subtrees, summarise
from tasks.object_keys import manifest_key, preview_key, report_key
from tasks.report.check import check_night, is_published
from tasks.report.gather import gather_report
from tasks.report.page import render_report
from tasks.report.publish import Published, publish
from tasks.settings import Settings
from tasks.states import RunState
from tasks.storage import Bucket
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import (
    WORDS,
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
Stage = Callable[[SmallNight, Damage], None]


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
FOLDERS = ("images/", "previews/", "checkpoints/", "manifests/", "reports/")


FEW = WORDS[:8]
SHORT = {"planner": "paper", "shards": 2, "steps": 4, "saving": 0.5}  # a split in each shard

UNDISTURBED: dict[str, Pixels] = {}


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Iterator[SmallNight]:
    torch.set_num_threads(1)
    short = small(settings, **SHORT)
    with open_stores(short) as stores:
        yield plan_small_night(stores, short, write_catalogue(tmp_path, FEW))


@pytest.fixture
def wanted(planned: SmallNight) -> dict[str, Pixels]:
    """The pixels of the undisturbed night, by content key; it is made once for all tests."""
    if not UNDISTURBED:
        assert make(planned).complete
        UNDISTURBED.update(pixels_of(planned))
        start_over(planned)
    return UNDISTURBED


def run_open(night: SmallNight) -> int:
    """Run the subtrees that are open, as the nightly flow does; return the evaluations."""
    with night.stores.session() as session:
        waiting = open_subtrees(session, night.run)
    settings, run = night.settings, night.run
    try:
        done = [denoise_shard(night.stores, settings, run, shard, "worker") for shard in waiting]
    except LostEmbeddings:
        assert stages.remake_lost(night.stores, settings, run)
        return run_open(night)
    return sum(each.evaluations for each in done)


def make(night: SmallNight) -> Published:
    """Carry a night out as the flow does: run, check, run what was taken back, publish."""
    run_open(night)
    checked = check_night(night.stores, night.run)
    run_open(night)
    return publish(night.stores, night.settings, night.run, checked)


def damage_all(night: SmallNight, damage: Damage) -> None:
    for folder in FOLDERS:
        damage(night.stores.bucket, list(night.stores.bucket.list(folder)))


def assert_whole(night: SmallNight) -> None:
    """All pictures and previews that the ledger names are there, with their digests."""
    with night.stores.session() as session:
        facts = summarise(session, night.run)
        images, previews = load_images(session, night.run), load_previews(session, night.run)
    assert facts.state is RunState.COMPLETED
    assert facts.images == facts.images_expected
    for image in images.values():
        night.stores.bucket.get(image.key, image.sha256)
    for sha256 in previews.values():
        night.stores.bucket.get(preview_key(sha256), sha256)


def while_denoising(night: SmallNight, damage: Damage) -> None:
    for shard in (0, 1):
        denoise_shard(night.stores, night.settings, night.run, shard, "worker")
        damage_all(night, damage)
    assert make(night).complete


def before_the_check(night: SmallNight, damage: Damage) -> None:
    run_open(night)
    damage_all(night, damage)
    assert make(night).complete


def before_the_report(night: SmallNight, damage: Damage) -> None:
    """What was whole a moment ago is not read again; a retry finds it."""
    run_open(night)
    checked = check_night(night.stores, night.run)
    damage_all(night, damage)
    assert publish(night.stores, night.settings, night.run, checked).complete
    assert not is_published(night.stores, night.run)
    assert make(night).complete


def after_the_night(night: SmallNight, damage: Damage) -> None:
    assert make(night).complete
    for folder in FOLDERS:
        keys = list(night.stores.bucket.list(folder))
        if folder in ("manifests/", "reports/"):  # one each: swapped with the other's
            keys = [manifest_key(night.run), report_key(night.run)]
        damage(night.stores.bucket, keys)
        assert is_published(night.stores, night.run) is _is_free(folder, damage)
        assert make(night).complete


def _is_free(folder: str, damage: Damage) -> bool:
    """Return whether nobody misses it: a checkpoint after the night, a preview that has expired."""
    return folder == "checkpoints/" or (folder == "previews/" and damage is delete)


STAGES: tuple[Stage, ...] = (while_denoising, before_the_check, before_the_report, after_the_night)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_what_is_damaged_at_a_stage_is_made_again(
    planned: SmallNight, wanted: dict[str, Pixels], stage: Stage, damage: Damage
) -> None:
    stage(planned, damage)
    assert_pictures(planned, wanted)
    assert_whole(planned)
    assert is_published(planned.stores, planned.run)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_later_night_makes_what_was_damaged_since(
    planned: SmallNight, wanted: dict[str, Pixels], tmp_path: Path, damage: Damage
) -> None:
    assert make(planned).complete
    damage_all(planned, damage)
    file = write_catalogue(tmp_path, FEW)
    again = plan_small_night(planned.stores, planned.settings, file, day=date(2026, 11, 23))
    assert make(again).complete
    # Its shards are others, and with them the widths of calls, which decide last bits.
    assert_pictures(again, wanted, within=2)
    assert_whole(again)


def test_previews_that_have_expired_cost_nothing_and_are_left_out_of_later_reports(
    planned: SmallNight,
) -> None:
    assert make(planned).complete
    report = planned.stores.bucket.get(report_key(planned.run)).decode()
    for folder in ("previews/", "checkpoints/"):
        delete(planned.stores.bucket, list(planned.stores.bucket.list(folder)))
    assert is_published(planned.stores, planned.run)
    with planned.stores.session() as session:
        assert open_subtrees(session, planned.run) == ()
        assert load_previews(session, planned.run) == {}
    assert run_open(planned) == 0
    assert "image/webp" in embedded_previews(report)
    later = gather_report(planned.stores, planned.settings, planned.run)
    assert embedded_previews(render_report(later)) == "{}"


def test_a_damaged_preview_is_made_again_from_its_split_without_an_evaluation(
    planned: SmallNight,
) -> None:
    assert make(planned).complete
    with planned.stores.session() as session:
        before = load_previews(session, planned.run)
    flip(planned.stores.bucket, list(planned.stores.bucket.list("previews/")))
    assert not is_published(planned.stores, planned.run)
    assert run_open(planned) == 0
    with planned.stores.session() as session:
        assert load_previews(session, planned.run) == before


def embedded_previews(page: str) -> str:
    found = re.search(r'id="previews">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    "content",
    [
        "set_byte(content, 99, 7)",
        "substr(content, 1, 40)",
        "''",
        "(SELECT other.content FROM embeddings other WHERE other.key <> embeddings.key LIMIT 1)",
    ],
    ids=["flip", "cut", "empty", "swap"],  # the database lets none be deleted
)
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


@pytest.mark.parametrize("damage", [flip, swap, delete])
def test_embeddings_in_the_object_store_that_are_damaged_are_made_anew_where_they_are_found(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    monkeypatch.setattr("tasks.embed.HELD", 0)
    short = small(settings, **SHORT)
    with open_stores(short) as stores:
        night = plan_small_night(stores, short, write_catalogue(tmp_path, FEW))
        kept = list(stores.bucket.list("embeddings/"))
        assert len(kept) == 1 + len(FEW)  # of the prompts and the negative one
        assert make(night).complete
        reference = end_states(stores, night.run)
        start_over(night)  # empties the bucket
        stages.remake_lost(stores, short, night.run)
        assert make(night).complete
        assert end_states(stores, night.run) == reference
        damage(stores.bucket, list(stores.bucket.list("embeddings/")))
        words = [("yellow", "mug"), ("red", "clock"), ("red", "mug")]
        file = write_catalogue(tmp_path, words)
        again = plan_small_night(stores, short, file, day=date(2026, 11, 23))
        assert make(again).complete
        with stores.session() as session:
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
