"""A night's plan is exported and run again elsewhere, founders included, to the same pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from hierdiff_core.errors import WrongRevision
from tasks.carrying import export_night, import_night
from tasks.errors import BadPlanFile, NightDiffers
from tasks.exported_night import ExportedNight, pack_night, unpack_night
from tasks.ledger import (
    claim_night,
    find_night,
    load_images,
    load_plan,
    open_subtrees,
    summarise,
)
from tasks.requests import settings_of_run
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import (
    NIGHT,
    WORDS,
    SmallNight,
    end_states,
    forget_results,
    plan_small_night,
    small,
    write_catalogue,
)

TOMORROW = NIGHT + timedelta(days=1)


def make(night: SmallNight) -> None:
    with night.stores.session() as session:
        waiting = open_subtrees(session, night.run)
    for shard in waiting:
        denoise_shard(night.stores, night.settings, night.run, shard, owner="me")


def exported(stores: Stores, night: SmallNight) -> bytes:
    with stores.session() as session:
        facts = summarise(session, night.run)
        claimed = find_night(session, facts.catalogue, facts.business_date)
    assert claimed is not None
    return pack_night(export_night(stores, claimed, night.run))


def objects(night: SmallNight) -> dict[str, str]:
    """Return the digest of each picture's file by its content key."""
    with night.stores.session() as session:
        plan, images = load_plan(session, night.run), load_images(session, night.run)
    return {plan.leaves[leaf].content_key: image.sha256 for leaf, image in images.items()}


def empty(night: SmallNight) -> None:
    """Leave neither a row nor an object."""
    forget_results(night)
    with night.stores.session() as session:
        session.execute(text("TRUNCATE catalogues, embeddings CASCADE"))


@pytest.mark.slow
def test_a_night_that_joined_is_made_again_on_an_empty_ledger_to_the_same_bits(
    settings: Settings, tmp_path: Path
) -> None:
    # One row a call: what the first night made, and the second joins, had calls of other widths.
    short = small(settings, slots=1, saving=0.3)
    with open_stores(short) as stores:
        make(plan_small_night(stores, short, write_catalogue(tmp_path, WORDS[:6])))
        words = [*WORDS[1:6], ("blue", "vase"), ("red", "vase")]
        two = plan_small_night(stores, short, write_catalogue(tmp_path, words), TOMORROW)
        kept = set(objects(two))
        make(two)
        states, files, file = end_states(stores, two.run), objects(two), exported(stores, two)
        with stores.session() as session:
            assert load_plan(session, two.run).guests
        empty(two)
        with stores.session() as session:
            claimed = claim_night(session, "elsewhere", NIGHT)
        assert import_night(stores, short, claimed, unpack_night(file, "it")).steps == short.steps
        there = replace(two, settings=settings_of_run(stores, short, two.run))
        assert objects(there) == {}
        make(there)
        assert end_states(stores, there.run) == states
        again = objects(there)
        assert {key: again[key] for key in files if key not in kept} == {
            key: files[key] for key in files if key not in kept
        }


def test_a_stored_night_comes_out_of_its_file_equal_and_is_taken_in_once(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings, saving=0.3, variants=2)
    with open_stores(short) as stores:
        night = plan_small_night(stores, short, write_catalogue(tmp_path, WORDS[:4]))
        with stores.session() as session:
            plan = load_plan(session, night.run)
        file = exported(stores, night)
        assert exported(stores, night) == file
        read = unpack_night(file, "it")
        assert read.plan == plan
        assert len(read.prompts) == 8
        empty(night)
        for _ in range(2):  # a command that is given again attaches
            with stores.session() as session:
                claimed = claim_night(session, "elsewhere", NIGHT)
            import_night(stores, short, claimed, read)
        with stores.session() as session:
            assert load_plan(session, night.run) == plan
            other = replace(read, plan=replace(read.plan, tuned="x", keys=read.plan.keys[::-1]))
            claimed = claim_night(session, "elsewhere", NIGHT)
        with pytest.raises(NightDiffers, match="another plan than the file"):
            import_night(stores, short, claimed, other)
        damaged_files(file)
        other_weights(stores, short, read)


def damaged_files(file: bytes) -> None:
    """Read files that are cut, changed, of another version and of other programs."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    sealed = json.loads(header["__metadata__"]["hierdiff-plan"])
    later = json.dumps(sealed | {"format": 2}, sort_keys=True)
    head = json.dumps(header | {"__metadata__": {"hierdiff-plan": later}}).encode()
    cases = {
        b"": "no plan that",
        b"PK\x03\x04 a zip": "no plan that",
        file[: length // 2]: "no plan that",
        file[:-7]: "damaged",
        file[:-1] + bytes([file[-1] ^ 1]): "its digest differs",
        file.replace(b"red mug", b"red cup", 1): "its digest differs",
        len(head).to_bytes(8, "little") + head + file[8 + length :]: "format 2, and this version",
    }
    for body, said in cases.items():
        with pytest.raises(BadPlanFile, match=said) as refused:
            unpack_night(body, "night.plan")
        assert "night.plan" in str(refused.value)
        assert "\n" not in str(refused.value)


def other_weights(stores: Stores, settings: Settings, read: ExportedNight) -> None:
    """Refuse the night where its weights are not at hand."""
    recipe = replace(read.plan.recipe, revision="0" * 64)
    with stores.session() as session:
        claimed = claim_night(session, "third", NIGHT)
    with pytest.raises(WrongRevision, match="the plan was made for 0000"):
        import_night(
            stores, settings, claimed, replace(read, plan=replace(read.plan, recipe=recipe))
        )
