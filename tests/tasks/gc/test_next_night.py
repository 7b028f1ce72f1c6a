"""Nights after a collection and after a row was forgotten: nothing that is wanted is made again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tasks.forget import Asked, forget_rows
from tasks.gc.collect import collect_garbage
from tasks.ledger import load_plan, summarise
from tasks.report.check import check_night
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.stages import remake_lost
from tasks.stores import open_stores
from tests.tasks.gc.nights import ONE, dangling
from tests.tasks.night_kit import NIGHT, STEPS, WORDS, plan_small_night, small, write_catalogue
from tests.tasks.test_next_night import make, pictures

pytestmark = pytest.mark.slow


def test_pictures_stay_and_a_new_row_joins_what_is_left(settings: Settings, tmp_path: Path) -> None:
    short = small(settings)
    with open_stores(short) as stores:
        one = plan_small_night(stores, short, write_catalogue(tmp_path))
        make(one)
        assert publish(stores, short, one.run).complete
        day = NIGHT + timedelta(days=1)
        two = plan_small_night(stores, short, write_catalogue(tmp_path, WORDS[1:]), day)
        assert make(two) == 0
        publish(stores, short, two.run)
        before = pictures(two)
        gone = {lot.kind: lot.count for lot in collect_garbage(stores, ONE)}
        assert (gone["batches"], gone["images/"]) == (1, 1)
        assert dangling(stores) == []
        erased, _ = forget_rows(stores, short, Asked("red-clock"))
        assert len(erased.pictures) == 1
        assert publish(stores, short, two.run).complete
        words = [*WORDS[2:], ("blue", "vase")]
        day = NIGHT + timedelta(days=2)
        three = plan_small_night(stores, short, write_catalogue(tmp_path, words), day)
        assert make(three) <= STEPS
        after = pictures(three)
        assert len(after.items() & before.items()) == len(WORDS) - 2
        assert publish(stores, short, three.run).complete
        with stores.session() as session:
            assert summarise(session, three.run).images_kept == len(WORDS) - 2
        assert dangling(stores) == []


def test_a_night_needs_nothing_of_a_founder_who_was_forgotten(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings)
    with open_stores(short) as stores:
        one = plan_small_night(stores, short, write_catalogue(tmp_path))
        make(one)
        publish(stores, short, one.run)
        erased, _ = forget_rows(stores, short, Asked("red-mug"))
        day = NIGHT + timedelta(days=1)
        two = plan_small_night(stores, short, write_catalogue(tmp_path, WORDS[1:]), day)
        with stores.session() as session:
            guests = {guest.embedding_key for guest in load_plan(session, two.run).guests}
        assert erased.embeddings & guests
        assert not remake_lost(stores, short, two.run)
        # What stands vanishes: it is made again from noise, under those who are left.
        for folder in ("images/", "checkpoints/"):
            for key in list(stores.bucket.list(folder)):
                stores.bucket.delete(key)
        make(two)
        checked = check_night(stores, two.run)
        assert make(two) > 0
        assert publish(stores, short, two.run, checked).complete
        assert len(pictures(two)) == len(WORDS) - 1
