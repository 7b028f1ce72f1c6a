"""Rejected pictures are remade, rows have several pictures, and later nights keep what was made."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import stages
from tasks.errors import NoneRejected, UnknownReference
from tasks.ledger import (
    NewVerdict,
    claim_night,
    find_run,
    load_prompts,
    open_subtrees,
    record_verdicts,
    replace_night,
)
from tasks.object_keys import manifest_key
from tasks.remake import NO_REMAKE, Remake, read_remake
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.states import VerdictState
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import NIGHT, STEPS, WORDS, small, write_catalogue

TOMORROW, DAY_AFTER = NIGHT + timedelta(days=1), NIGHT + timedelta(days=2)
WORD = WORDS[:6]


@dataclass(frozen=True)
class Shop:
    """A catalogue whose nights are made one after the other."""

    stores: Stores
    settings: Settings
    file: Path

    def night(
        self, day: date, remake: Remake = NO_REMAKE, *, again: bool = False
    ) -> tuple[dict[str, str], int]:
        """Make a night; return the object of each picture by its name, and the evaluations."""
        source = stages.Source() if again else stages.Source(file=self.file)
        with self.stores.session() as session:
            replace_night(session, "shop", day)
            claimed = claim_night(session, "shop", day)
        stages.ingest(self.stores, self.settings, claimed, source, remake=remake)
        stages.embed(self.stores, self.settings, claimed.batch, lambda done, total: None)
        run = stages.plan(self.stores, self.settings, claimed.batch)
        with self.stores.session() as session:
            waiting = open_subtrees(session, run)
        spent = sum(
            denoise_shard(self.stores, self.settings, run, shard, owner="me").evaluations
            for shard in waiting
        )
        publish(self.stores, self.settings, run)
        rows = json.loads(self.stores.bucket.get(manifest_key(run)))["images"]
        return {row["name"]: row["sha256"] for row in rows}, spent

    def reject(self, night: dict[str, str], *names: str) -> None:
        self._say(night, names, VerdictState.REJECTED, "two handles")

    def accept(self, night: dict[str, str], *names: str) -> None:
        self._say(night, names, VerdictState.ACCEPTED, "")

    def _say(
        self, night: dict[str, str], names: tuple[str, ...], verdict: VerdictState, reason: str
    ) -> None:
        said = [NewVerdict(each, 1, night[each], verdict, reason, "ann") for each in names]
        with self.stores.session() as session:
            record_verdicts(session, "shop", said)

    def manifest(self, run: str) -> dict[str, Any]:
        with self.stores.session() as session:
            key = manifest_key(find_run(session, run))
        return dict(json.loads(self.stores.bucket.get(key)))


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in after if before.get(name) != after[name]}


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_a_rejected_picture_is_another_one_from_then_on_and_no_other_changes(
    settings: Settings, tmp_path: Path, solver: str
) -> None:
    short = small(settings, solver=solver, saving=0.3)
    with open_stores(short) as stores:
        shop = Shop(stores, short, write_catalogue(tmp_path, WORD))
        first, whole = shop.night(NIGHT)
        other, spent = shop.night(NIGHT, read_remake("red-mug", 5), again=True)
        assert changed(first, other) == {"red-mug"}
        assert 0 < spent <= STEPS < whole
        kept, none = shop.night(TOMORROW)
        assert (kept, none) == (other, 0)
        third, _ = shop.night(TOMORROW, Remake(("red-mug",), 6))
        assert changed(other, third) == {"red-mug"}
        back, none = shop.night(DAY_AFTER, Remake(("red-mug",), 5))
        assert (back, none) == (other, 0)
        first_again, none = shop.night(DAY_AFTER, Remake(("red-mug",), short.seed))
        assert (first_again, none) == (first, 0)


@pytest.mark.slow
def test_what_is_made_anew_is_made_although_it_exists_and_then_kept(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings, saving=0.3)
    with open_stores(short) as stores:
        shop = Shop(stores, short, write_catalogue(tmp_path, WORD))
        first, whole = shop.night(NIGHT)
        anew, spent = shop.night(NIGHT, read_remake("red-mug, blue-mug", None))
        assert changed(first, anew) == {"red-mug", "blue-mug"}
        assert 0 < spent < whole
        assert shop.night(TOMORROW) == (anew, 0)
        everything, spent = shop.night(DAY_AFTER, read_remake("all", None))
        assert changed(anew, everything) == set(first)
        assert spent >= len(first)


@pytest.mark.slow
def test_the_next_night_makes_others_of_rejected_pictures_until_they_wait_for_a_person(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings, saving=0.3, remakes=1)
    with open_stores(short) as stores:
        shop = Shop(stores, short, write_catalogue(tmp_path, WORD))
        first, _ = shop.night(NIGHT)
        shop.reject(first, "red-mug", "blue-mug")
        second, spent = shop.night(TOMORROW)
        assert changed(first, second) == {"red-mug", "blue-mug"}
        assert 0 < spent <= 2 * STEPS
        assert shop.night(DAY_AFTER) == (second, 0)  # the others have no verdict yet
        shop.reject(second, "red-mug")
        shop.reject(second, "blue-mug")
        shop.accept(second, "blue-mug")
        assert shop.night(DAY_AFTER) == (second, 0)
        manifest = shop.manifest("latest")
        assert manifest["rejected_often"] == [
            {"row": 2, "name": "red-mug", "times": 2, "reason": "two handles"}
        ]
        with pytest.raises(NoneRejected, match="HIERDIFF_REMAKES"):
            shop.night(DAY_AFTER, read_remake("rejected", None))
        third, spent = shop.night(DAY_AFTER, read_remake("rejected", 9))
        assert (changed(second, third), 0 < spent <= STEPS) == ({"red-mug"}, True)
        assert shop.manifest("latest")["rejected_often"] == []
        shop.reject(third, "red-lamp")
        fourth, _ = shop.night(DAY_AFTER, read_remake("rejected", None), again=True)
        assert changed(third, fourth) == {"red-lamp"}


@pytest.mark.slow
def test_a_row_has_as_many_pictures_as_are_asked_for(settings: Settings, tmp_path: Path) -> None:
    short = small(settings, saving=0.2, variants=2)
    with open_stores(short) as stores:
        shop = Shop(stores, short, write_catalogue(tmp_path, WORD))
        pair, _ = shop.night(NIGHT)
        assert set(pair) == {f"{c}-{p}{n}" for c, p in WORD for n in ("", "#2")}
        assert len(set(pair.values())) == 2 * len(WORD)
        three, spent = replace(shop, settings=small(short, saving=0.2, variants=3)).night(TOMORROW)
        assert changed(pair, three) == {f"{c}-{p}#3" for c, p in WORD}
        assert spent == len(WORD) * (STEPS - STEPS // 2)
        other, _ = shop.night(DAY_AFTER, Remake(("red-mug#2",), 9))
        assert changed(pair, other) == {"red-mug#2"}


def test_a_name_that_no_picture_has_is_refused_and_nothing_is_stored(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings)
    with open_stores(short) as stores:
        with stores.session() as session:
            night = claim_night(session, "shop", NIGHT)
        source = stages.Source(file=write_catalogue(tmp_path, WORD))
        with pytest.raises(UnknownReference, match=r"called green-vase, red-mug#2; name rows"):
            stages.ingest(
                stores, short, night, source, remake=read_remake("red-mug#2,green-vase", 1)
            )
        with stores.session() as session:
            assert load_prompts(session, night.batch) == ()
            assert claim_night(session, "shop", NIGHT).state == night.state


def test_names_of_files_and_manifests_are_references_with_numbers() -> None:
    assert read_remake(" A-17 ,, B#2", 4) == Remake(("A-17", "B#2"), 4)
    assert read_remake("", None) == NO_REMAKE
