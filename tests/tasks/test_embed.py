"""Embeddings are made once, and one that is of no use costs its own row and no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hierdiff_core.miniature import PRIOR
from tasks import stages
from tasks.errors import EmptyBatch
from tasks.ledger import claim_night, load_prompts, load_rejected
from tasks.settings import Settings
from tasks.stores import open_stores
from tests.tasks.night_kit import NIGHT, small, write_catalogue

pytestmark = pytest.mark.slow


def prior_that_predicts(value: float, folder: Path) -> Path:
    """Copy the shipped prior with statistics that turn every embedding into one value."""
    copy = folder / "prior"
    shutil.copytree(PRIOR, copy)
    weights = copy / "prior" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["clip_std"] = torch.zeros_like(tensors["clip_std"])
    tensors["clip_mean"] = torch.full_like(tensors["clip_mean"], value)
    save_file(tensors, weights, metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize(("value", "reason"), [(0.0, "is zero"), (float("nan"), "is not finite")])
def test_rows_with_a_useless_embedding_are_set_aside_and_named(
    settings: Settings, tmp_path: Path, value: float, reason: str
) -> None:
    torch.set_num_threads(1)
    short = small(settings, options={"prior": str(prior_that_predicts(value, tmp_path))})
    with open_stores(short) as stores:
        with stores.session() as session:
            claimed = claim_night(session, "shop", NIGHT)
        stages.ingest(stores, short, claimed, stages.Source(file=write_catalogue(tmp_path)))
        stages.embed(stores, short, claimed.batch, lambda done, total: None)
        with stores.session() as session:
            assert load_prompts(session, claimed.batch) == ()
            rejected = load_rejected(session, claimed.batch)
        assert len(rejected) == 12
        assert all(reason in each.reason for each in rejected)
        assert sorted(each.row for each in rejected) == list(range(2, 14))
        with pytest.raises(EmptyBatch, match="no prompt has an embedding"):
            stages.plan(stores, short, claimed.batch)


def test_what_is_cached_is_not_made_again(settings: Settings, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    short = small(settings)
    made = []
    with open_stores(short) as stores:
        for catalogue in ("first", "second"):
            with stores.session() as session:
                claimed = claim_night(session, catalogue, NIGHT)
            stages.ingest(stores, short, claimed, stages.Source(file=write_catalogue(tmp_path)))
            made.append(stages.embed(stores, short, claimed.batch, lambda done, total: None))
    assert made == [12, 0]
