"""A solver that remembers never goes on from a checkpoint that has forgotten."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from hierdiff_core.checkpoint import pack, unpack
from tasks.ledger import load_plan, stored_segments
from tasks.object_keys import checkpoint_key
from tasks.settings import Settings
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import SmallNight, end_states, plan_small_night, small, write_catalogue

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
        before = end_states(stores, planned.run)
        with stores.session() as session:
            plan, done = load_plan(session, planned.run).plan, stored_segments(session, planned.run)
        split = next(each for each in reversed(plan.segments) if plan.children[each.id])
        lost = list(plan.children[split.id])
        key, sha256 = done[split.id].key, done[split.id].sha256
        states = unpack(stores.bucket.get(checkpoint_key(sha256)))
        forgotten = pack({**states, key: replace(states[key], history=())})
        digest = hashlib.sha256(forgotten).hexdigest()
        stores.bucket.put(checkpoint_key(digest), forgotten)
        with stores.session() as session:
            session.execute(
                text("UPDATE segments SET sha256 = :d WHERE sha256 = :s"),
                {"d": digest, "s": sha256},
            )
            session.execute(
                text(
                    "UPDATE segments SET state = 'waiting', sha256 = NULL WHERE segment = ANY(:s)"
                ),
                {"s": lost},
            )
        redone = sum(plan.segments[each].steps for each in [split.id, *lost])
        assert run_all(planned) == redone
        assert end_states(stores, planned.run) == before
