"""Who embeds loads the text side, who denoises the picture side, and neither anything else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text

from hierdiff_core.prompt import negative_key
from tasks import stages
from tasks.ledger import claim_night, load_plan, open_subtrees
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.tasks.night_kit import NIGHT, environment, small, write_catalogue

pytestmark = pytest.mark.slow

TEXT = {"CLIPTextModelWithProjection", "CLIPVisionModelWithProjection", "PriorTransformer"}
PICTURE = {"UNet2DConditionModel", "VQModel"}


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Iterator[tuple[Stores, Settings, int]]:
    torch.set_num_threads(1)
    short = small(settings, shards=1)
    with open_stores(short) as stores:
        with stores.session() as session:
            claimed = claim_night(session, "shop", NIGHT)
        stages.ingest(stores, short, claimed, stages.Source(file=write_catalogue(tmp_path)))
        yield stores, short, claimed.batch


def run_side(settings: Settings, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.tasks.side_process", *arguments]
    done = subprocess.run(
        command, env=environment(settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_each_side_builds_its_own_networks_even_where_the_negative_embedding_is_lost(
    planned: tuple[Stores, Settings, int],
) -> None:
    stores, settings, batch = planned
    built = set(run_side(settings, "embed", str(batch))["built"])
    assert built >= TEXT
    assert not built & PICTURE
    run = stages.plan(stores, settings, batch)
    with stores.session() as session:
        (tree,) = load_plan(session, run).trees
        lose = text("UPDATE embeddings SET content = '' WHERE key = :key")
        session.execute(lose, {"key": negative_key(tree.recipe)})
        (shard,) = open_subtrees(session, run)
    missed = run_side(settings, "denoise", str(run), str(shard))
    assert missed["lost"] == 1
    assert not set(missed["built"]) & TEXT
    assert stages.remake_lost(stores, settings, run)
    assert not stages.remake_lost(stores, settings, run)
    done = run_side(settings, "denoise", str(run), str(shard))
    assert done["lost"] == 0
    assert set(done["built"]) >= PICTURE
    assert not set(done["built"]) & TEXT
    with stores.session() as session:
        assert not open_subtrees(session, run)


def test_a_cpu_embeds_for_networks_of_float16(settings: Settings, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    half = small(settings, dtype="float16")
    with open_stores(half) as stores:
        with stores.session() as session:
            claimed = claim_night(session, "shop", NIGHT)
        stages.ingest(stores, half, claimed, stages.Source(file=write_catalogue(tmp_path)))
        assert stages.embed(stores, half, claimed.batch, lambda done, total: None) == 12
        assert stages.plan(stores, half, claimed.batch)
