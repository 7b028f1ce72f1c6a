"""Renditions are made once, heal as pictures do, and go with their pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tasks import ledger
from tasks.forget import Asked, forget_rows
from tasks.gc.collect import collect_garbage
from tasks.ledger import StoredRendition, load_images, load_renditions
from tasks.night_settings import NightSettings
from tasks.renditions import check_renditions, make_renditions, rendition_key
from tasks.report.check import is_published
from tasks.report.publish import publish
from tasks.requests import check_settings
from tasks.settings import Settings
from tasks.storage import Bucket
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import (
    ONE,
    StoredNight,
    dangling,
    date_of,
    finish,
    keys,
    make_nights,
    plan_night,
)
from tests.tasks.night_kit import published

ASKED = "jpeg q70, webp 4px"


@pytest.fixture
def asked(settings: Settings) -> Settings:
    return settings.model_copy(update={"renditions": ASKED})


@pytest.fixture
def stores(asked: Settings) -> Iterator[Stores]:
    with open_stores(asked) as opened:
        yield opened


def renditions(stores: Stores, night: StoredNight) -> tuple[StoredRendition, ...]:
    with stores.session() as session:
        return load_renditions(session, night.run)


def test_a_published_night_has_every_rendition_and_its_manifest_names_it(
    asked: Settings, tmp_path: Path
) -> None:
    with published(asked, tmp_path) as night:
        body = json.loads(night.stores.bucket.get(f"manifests/{night.run}.json"))
        files = [each for entry in body["images"] for each in entry["renditions"]]
        assert [each["name"] for each in files] == ["jpeg", "webp-4"] * 2
        for each in files:
            stored = night.stores.bucket.get(each["key"], each["sha256"])
            with Image.open(io.BytesIO(stored)) as image:
                assert image.size == (each["width"], each["height"])
            assert len(stored) == each["bytes"]
        assert is_published(night.stores, night.run)
        # A night that is asked for again with other renditions is the same night.
        with night.stores.session() as session:
            claimed = ledger.find_night(session, "shop", date_of(0))
        assert claimed is not None
        check_settings(night.stores, claimed, night.settings.night)
        night.stores.bucket.delete(files[0]["key"])
        assert not is_published(night.stores, night.run)
        assert publish(night.stores, night.settings, night.run).complete
        again = json.loads(night.stores.bucket.get(f"manifests/{night.run}.json"))
        assert again == body
        assert is_published(night.stores, night.run)


def test_they_are_made_once(stores: Stores, asked: Settings) -> None:
    (night,) = make_nights(stores, (1, 2, 3))
    assert make_renditions(stores, asked, night.run) == 6
    before = renditions(stores, night)
    assert make_renditions(stores, asked, night.run) == 0
    assert renditions(stores, night) == before
    assert {rendition_key(each) for each in before} <= keys(stores)


def test_a_picture_that_is_kept_keeps_its_files(stores: Stores, asked: Settings) -> None:
    first, second = make_nights(stores, (1, 2, 3), (1, 2, 4))
    make_renditions(stores, asked, first.run)
    with stores.session() as session:
        of_first = {image.sha256 for image in load_images(session, first.run).values()}
        of_second = {image.sha256 for image in load_images(session, second.run).values()}
    assert make_renditions(stores, asked, second.run) == 2 * len(of_second - of_first)


def test_a_lost_and_a_damaged_one_are_made_again(stores: Stores, asked: Settings) -> None:
    (night,) = make_nights(stores, (1, 2, 3))
    make_renditions(stores, asked, night.run)
    before = renditions(stores, night)
    stores.bucket.delete(rendition_key(before[0]))
    damaged = bytearray(stores.bucket.get(rendition_key(before[3])))
    damaged[-1] ^= 1
    stores.bucket.put(rendition_key(before[3]), bytes(damaged))
    assert check_renditions(stores, night.run) == 2
    assert make_renditions(stores, asked, night.run) == 2
    assert renditions(stores, night) == before
    assert check_renditions(stores, night.run) == 0


def test_other_words_make_other_files_and_what_is_not_asked_for_goes(
    stores: Stores, asked: Settings
) -> None:
    (night,) = make_nights(stores, (1, 2, 3))
    make_renditions(stores, asked, night.run)
    better = asked.model_copy(update={"renditions": "jpeg q90"})
    assert make_renditions(stores, better, night.run) == 3
    assert {each.made_as for each in renditions(stores, night)} == {"jpeg q90"}
    none = asked.model_copy(update={"renditions": ""})
    assert make_renditions(stores, none, night.run) == 0
    assert renditions(stores, night) == ()
    collect_garbage(stores, ONE)
    assert not keys(stores, "renditions/")


def test_files_of_nights_that_go_go_with_them(stores: Stores, asked: Settings) -> None:
    first, second = make_nights(stores, (1, 2, 3), (1, 2, 4))
    for night in (first, second):
        make_renditions(stores, asked, night.run)
    collect_garbage(stores, ONE)
    named = {rendition_key(each) for each in renditions(stores, second)}
    assert keys(stores, "renditions/") == named
    assert dangling(stores) == []


def test_files_of_a_forgotten_row_are_gone_at_once(stores: Stores, asked: Settings) -> None:
    (night,) = make_nights(stores, (1, 2, 3))
    make_renditions(stores, asked, night.run)
    before = {rendition_key(each) for each in renditions(stores, night)}
    forget_rows(stores, asked, Asked("SKU-2"))
    after = {rendition_key(each) for each in renditions(stores, night)}
    assert (len(before), len(after)) == (6, 4)
    assert keys(stores, "renditions/") == after


def test_one_that_was_stored_before_a_crash_and_not_entered_is_made_again(
    stores: Stores, asked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = plan_night(stores, (1, 2))
    finish(stores, night)
    put, stored = Bucket.put, 0

    def dies(self: Bucket, key: str, body: bytes, content_type: str = "") -> str:
        nonlocal stored
        stored += 1
        if stored == 3:
            raise KeyboardInterrupt
        return put(self, key, body, content_type)

    monkeypatch.setattr(Bucket, "put", dies)
    with pytest.raises(KeyboardInterrupt):
        make_renditions(stores, asked, night.run)
    monkeypatch.undo()
    assert renditions(stores, night) == ()
    assert make_renditions(stores, asked, night.run) == 4
    assert {rendition_key(each) for each in renditions(stores, night)} == keys(
        stores, "renditions/"
    )


def test_they_are_no_part_of_a_recipe() -> None:
    assert NightSettings(renditions="avif").recipe == NightSettings().recipe
    assert NightSettings(renditions=" JPEG").renditions == "jpeg q85"
