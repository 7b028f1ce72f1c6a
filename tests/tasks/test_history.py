"""A solver that remembers never goes on from a checkpoint that has forgotten."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from hierdiff_core.checkpoint import pack, unpack
from tasks.denoise import denoise_shard
from tasks.ledger import load_plan
from tasks.settings import Settings
from tasks.stores import open_stores
from tasks.work import checkpoint_key
from tests.tasks.night_kit import SmallNight, latents, plan_small_night, small, write_catalogue

pytestmark = pytest.mark.slow


def run_all(night: SmallNight) -> int:
    shards = range(night.settings.shards + 1)
    return sum(
        denoise_shard(night.stores, night.settings, night.run, shard, owner="me").evaluations
        for shard in shards
    )


def test_a_checkpoint_without_its_history_is_computed_again(
    settings: Settings, tmp_path: Path
) -> None:
    short = small(settings, solver="dpmsolver++", steps=6, saving=0.3)
    with open_stores(short) as stores:
        planned = plan_small_night(stores, short, write_catalogue(tmp_path))
        run_all(planned)
        before = latents(stores, planned.run)
        with stores.session() as session:
            night = load_plan(session, planned.run)
        plan = night.plan
        split = next(each for each in reversed(plan.segments) if plan.children[each.id])
        lost = list(plan.children[split.id])
        place = checkpoint_key(night.keys[split.id])
        forgotten = pack(replace(unpack(stores.bucket.get(place)), history=()))
        stores.bucket.put(place, forgotten)
        digest = hashlib.sha256(forgotten).hexdigest()
        with stores.session() as session:
            session.execute(
                text("UPDATE segments SET sha256 = :d WHERE segment = :s"),
                {"d": digest, "s": split.id},
            )
            session.execute(
                text(
                    "UPDATE segments SET state = 'waiting', sha256 = NULL WHERE segment = ANY(:s)"
                ),
                {"s": lost},
            )
        redone = sum(plan.segments[each].steps for each in [split.id, *lost])
        assert run_all(planned) == redone
        assert latents(stores, planned.run) == before
