"""Embeddings are made once, and one that is of no use costs its own row and no other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hierdiff_core.embedding import Conditioning, Embedding
from hierdiff_core.miniature import PRIOR
from hierdiff_core.models.loaded import Models
from hierdiff_core.noise import generator
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import Recipe
from tasks import stages
from tasks.embed import LedgerCache, embed_prompts, read_conditionings
from tasks.errors import EmptyBatch, LostEmbeddings
from tasks.ledger import claim_night, find_embeddings, load_prompts, load_rejected
from tasks.object_keys import embedding_object_key
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.core.recipes import bare_recipe
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


@dataclass(frozen=True)
class StandIn:
    """An encoder of tokens as wide as one likes."""

    tokens: int
    width: int

    embed_pictures: None = None

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        return [self._make(prompt.text) for prompt in prompts]

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        return self._make("").conditioning

    def _make(self, text: str) -> Embedding:
        drawn = torch.randn(1, self.tokens, self.width, generator=generator(text))
        tokens = drawn.bfloat16().float()
        return Embedding(tokens[0, 0].numpy().copy(), Conditioning({"tokens": tokens}))


@pytest.fixture
def wide(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stores, Models]]:
    models = Models("cpu")
    monkeypatch.setattr(models, "encoder", lambda recipe: StandIn(64, 1024))
    with open_stores(settings) as stores:
        yield stores, models


def prompts_of(count: int) -> list[Prompt]:
    return [Prompt(row, str(row), f"mug {row}", bare_recipe()) for row in range(count)]


def test_a_large_embedding_goes_to_the_object_store_in_half_the_bytes(
    wide: tuple[Stores, Models],
) -> None:
    (stores, models), prompts = wide, prompts_of(5)
    assert embed_prompts(stores, prompts, models).made == 5
    keys, cache = [embedding_key(prompt) for prompt in prompts], LedgerCache(stores)
    with stores.session() as session:
        rows = find_embeddings(session, keys)
    for prompt, key in zip(prompts, keys, strict=True):
        wanted, row = StandIn(64, 1024).embed([prompt])[0], rows[key]
        assert len(row.content) < 5000  # the vector
        assert row.object_bytes is not None
        assert 64 * 1024 * 2 < row.object_bytes < 64 * 1024 * 2 + 6000
        stores.bucket.get(embedding_object_key(str(row.object)), row.object)
        found = read_conditionings(stores, [key])[key]
        assert torch.equal(found.tensors["tokens"], wanted.conditioning.tensors["tokens"])
        np.testing.assert_array_equal(cache.vectors([key])[key], wanted.vector)
    assert embed_prompts(stores, prompts, models).made == 0


def test_vectors_are_read_without_what_steers(wide: tuple[Stores, Models]) -> None:
    (stores, models), prompts = wide, prompts_of(3)
    embed_prompts(stores, prompts, models)
    for key in list(stores.bucket.list("embeddings/")):
        stores.bucket.delete(key)
    keys = {embedding_key(prompt) for prompt in prompts}
    assert LedgerCache(stores).vectors(keys).keys() == keys
    assert set(LedgerCache(stores).known(keys)) == keys


def test_an_object_that_is_gone_is_found_where_it_is_read_and_made_anew(
    wide: tuple[Stores, Models], caplog: pytest.LogCaptureFixture
) -> None:
    (stores, models), prompts = wide, prompts_of(3)
    embed_prompts(stores, prompts, models)
    keys = [embedding_key(prompt) for prompt in prompts]
    with stores.session() as session:
        gone = find_embeddings(session, keys[:1])[keys[0]].object
    stores.bucket.delete(embedding_object_key(str(gone)))
    with pytest.raises(LostEmbeddings) as lost:
        read_conditionings(stores, keys)
    assert lost.value.keys == {keys[0]}
    assert embed_prompts(stores, prompts, models).made == 1
    assert read_conditionings(stores, keys).keys() == set(keys)


def test_an_object_is_written_before_the_row_that_names_it(
    wide: tuple[Stores, Models], monkeypatch: pytest.MonkeyPatch
) -> None:
    (stores, models), prompts = wide, prompts_of(3)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cutting:
        cutting.setattr("tasks.embed.store_embeddings", cut)
        with pytest.raises(KeyboardInterrupt):
            embed_prompts(stores, prompts, models)
    assert list(stores.bucket.list("embeddings/"))
    assert not LedgerCache(stores).known({embedding_key(prompt) for prompt in prompts})
    assert embed_prompts(stores, prompts, models).made == 3
