"""What is known is not embedded again, and what is of no use is not kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hierdiff_core.embedding import Conditioning, Embedding
from hierdiff_core.embedding_cache import (
    FolderCache,
    embed_missing,
    find_embeddings,
    find_negative,
    find_vectors,
)
from hierdiff_core.models.kandinsky22 import EMBEDDING, Prior
from hierdiff_core.models.loaded import Models
from hierdiff_core.prompt import Prompt, embedding_key, negative_key
from hierdiff_core.recipe import Recipe
from tests.core.recipes import change

TEXTS = ("a red cup", "a blue hat", "a pink pot")


@dataclass
class Watched:
    """A loaded prior that notes what it is asked for."""

    prior: Prior
    calls: list[list[str]] = field(default_factory=list)
    spoilt: Mapping[str, float] = field(default_factory=dict)  # by text, what its numbers become
    refused: Collection[str] = ()  # texts for which it raises

    @property
    def embed_pictures(self) -> Any:
        return self.prior.embed_pictures

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        self.calls.append([prompt.text for prompt in prompts])
        self._raise_for(prompt.text for prompt in prompts)
        rows = self.prior.embed(prompts)
        return [self._spoil(*each) for each in zip(prompts, rows, strict=True)]

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        self.calls.append([f"not {recipe.negative_prompt}"])
        self._raise_for([recipe.negative_prompt])
        return self.prior.embed_negative(recipe)

    def _raise_for(self, texts: Iterable[str]) -> None:
        for text in texts:
            if text in self.refused:
                raise ValueError(f"cannot read {text}")

    def _spoil(self, prompt: Prompt, row: Embedding) -> Embedding:
        if prompt.text not in self.spoilt:
            return row
        vector = np.full_like(row.vector, self.spoilt[prompt.text])
        return Embedding(vector, Conditioning({EMBEDDING: torch.from_numpy(vector)[None]}))


@dataclass
class WatchedModels(Models):
    """Models whose encoder is a watched one, and that note how often it is asked for."""

    watched: Any = None
    loads: list[Recipe] = field(default_factory=list)

    def encoder(self, recipe: Recipe) -> Any:
        self.loads.append(recipe)
        return self.watched


@pytest.fixture
def cache(tmp_path: Path) -> FolderCache:
    return FolderCache(tmp_path / "embeddings")


@pytest.fixture
def models(prior: Prior) -> WatchedModels:
    return WatchedModels("cpu", watched=Watched(prior))


@pytest.fixture
def recipe(folders: Any) -> Recipe:
    return folders.recipe()


def prompts_of(recipe: Recipe, texts: Sequence[str] = TEXTS) -> list[Prompt]:
    return [Prompt(row, f"A-{row}", text, recipe) for row, text in enumerate(texts, start=1)]


def test_every_prompt_and_the_negative_are_embedded_and_found(
    models: WatchedModels, prior: Prior, recipe: Recipe, cache: FolderCache
) -> None:
    prompts = prompts_of(recipe)
    found = embed_missing(prompts, models, cache)
    assert (found.made, found.faults) == (3, {})
    keys = {*map(embedding_key, prompts), negative_key(recipe)}
    assert {file.stem for file in cache.folder.iterdir()} == keys
    embeddings = find_embeddings(cache, prompts)
    for prompt, wanted in zip(prompts, prior.embed(prompts), strict=True):
        np.testing.assert_array_equal(embeddings[prompt].vector, wanted.vector)
    negative = find_negative(cache, recipe)
    assert negative is not None
    assert torch.equal(negative.tensors[EMBEDDING], prior.embed_negative(recipe).tensors[EMBEDDING])


def test_a_negative_prompt_is_in_no_tree_and_takes_the_room_of_what_steers_alone(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    wide = Conditioning({"tokens": torch.randn(1, 64, 128)})
    models.watched.embed_negative = lambda recipe: wide
    embed_missing(prompts_of(recipe), models, cache)
    (packed,) = cache.find([negative_key(recipe)]).values()
    assert len(packed) < 64 * 128 * 4 + 500
    found = find_negative(cache, recipe)
    assert found is not None
    assert torch.equal(found.tensors["tokens"], wide.tensors["tokens"])


def test_what_is_known_is_not_embedded_again(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    prompts = prompts_of(recipe)
    embed_missing(prompts[:2], models, cache)
    models.watched.calls.clear()
    assert embed_missing(prompts, models, cache).made == 1
    assert models.watched.calls == [["a pink pot"]]
    models.watched.calls.clear()
    assert embed_missing(prompts, models, cache).made == 0
    assert models.watched.calls == []


def test_where_all_is_known_no_encoder_is_asked_for(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    prompts = prompts_of(recipe)
    embed_missing(prompts, models, cache)
    models.loads.clear()
    # The picture side decides no embedding.
    wider = change(recipe, width=32, guidance=1.0, steps=3)
    embed_missing(prompts + prompts_of(wider), models, cache)
    assert models.loads == []


def test_equal_prompts_are_embedded_once(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    prompts = prompts_of(recipe, ["a red cup", " a red cup\n", "a red cup"])
    assert embed_missing(prompts, models, cache).made == 1


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "is not finite"), (0.0, "is zero")])
def test_a_useless_embedding_is_a_fault_and_is_not_kept(
    models: WatchedModels, recipe: Recipe, value: float, reason: str, cache: FolderCache
) -> None:
    prompts = prompts_of(recipe)
    models.watched.spoilt = {"a blue hat": value}
    found = embed_missing(prompts, models, cache)
    assert list(found.faults) == [prompts[1]]
    assert str(found.faults[prompts[1]]).startswith(f"Row 2: its embedding {reason};")
    assert not cache.find([embedding_key(prompts[1])])
    assert list(find_embeddings(cache, prompts)) == [prompts[0], prompts[2]]
    models.watched.spoilt = {}
    assert embed_missing(prompts, models, cache).made == 1


@pytest.mark.parametrize("bad", [1, 5])
def test_a_prompt_that_the_encoder_fails_for_costs_its_own_rows(
    models: WatchedModels, prior: Prior, recipe: Recipe, cache: FolderCache, bad: int
) -> None:
    texts = [f"cup {number}" for number in range(40)]
    models.watched.refused = texts[7 : 7 + bad]
    # The last row asks for what the first bad one asks for, at another guidance.
    prompts = [*prompts_of(recipe, texts), *prompts_of(change(recipe, guidance=1.0), [texts[7]])]
    found = embed_missing(prompts, models, cache)
    assert set(found.faults) == {*prompts[7 : 7 + bad], prompts[-1]}
    assert str(found.faults[prompts[7]]) == (
        "Row 8: its embedding could not be made (ValueError: cannot read cup 7); "
        "check the prompt and the prior's weights."
    )
    embeddings = find_embeddings(cache, prompts)
    assert len(embeddings) == 40 - bad
    for prompt in prompts[:7]:  # the same numbers, whatever it stood beside
        wanted = prior.embed([prompt])[0].vector
        np.testing.assert_array_equal(embeddings[prompt].vector, wanted)


def test_an_encoder_that_fails_for_everything_is_to_blame_itself(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    models.watched.refused = [*TEXTS, ""]
    with pytest.raises(ValueError, match="cannot read"):
        embed_missing(prompts_of(recipe), models, cache)


def test_a_negative_prompt_that_the_encoder_fails_for_costs_the_rows_that_ask_for_it(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    other = change(recipe, negative_prompt="a blur")
    prompts = [*prompts_of(recipe), *prompts_of(other, TEXTS[:1])]
    models.watched.refused = ["a blur"]
    found = embed_missing(prompts, models, cache)
    assert list(found.faults) == [prompts[3]]
    assert "negative prompt could not be made" in str(found.faults[prompts[3]])


def test_what_steers_has_to_be_finite_as_the_vector_has(
    models: WatchedModels, prior: Prior, recipe: Recipe, cache: FolderCache
) -> None:
    prompts = prompts_of(recipe)
    (row,) = prior.embed(prompts[:1])
    broken = Conditioning({EMBEDDING: torch.full_like(row.conditioning.tensors[EMBEDDING], np.nan)})
    models.watched.embed = lambda asked: [Embedding(row.vector, broken) for _ in asked]
    found = embed_missing(prompts, models, cache)
    assert set(found.faults) == set(prompts)


def test_recipes_that_differ_in_seed_alone_are_embedded_by_one_encoder_in_one_call(
    folders: Any, recipe: Recipe, prior: Prior, cache: FolderCache
) -> None:
    models = Models("cpu")
    seeds = [change(recipe, seed=seed) for seed in range(4)]
    prompts = [prompt for each in seeds for prompt in prompts_of(each)]
    assert embed_missing(prompts, models, cache).made == 12
    (encoder,) = {id(models.encoder(each)): models.encoder(each) for each in seeds}.values()
    assert isinstance(encoder.encoder, Prior)
    found = find_embeddings(cache, prompts)
    assert len({found[prompt].vector.tobytes() for prompt in prompts}) == 12
    for prompt in prompts:  # each as if it had been alone
        np.testing.assert_array_equal(found[prompt].vector, prior.embed([prompt])[0].vector)


def test_seeds_share_calls_and_other_options_do_not(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    mixed = [*prompts_of(recipe), *prompts_of(change(recipe, seed=1))]
    mixed += prompts_of(change(recipe, prior_steps=4))
    embed_missing(mixed, models, cache)
    calls = [call for call in models.watched.calls if not call[0].startswith("not ")]
    assert sorted(map(len, calls)) == [3, 6]


def test_each_recipe_has_the_negative_that_it_asks_for(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    other = change(recipe, negative_prompt="a blur")
    embed_missing([*prompts_of(recipe), *prompts_of(other)], models, cache)
    one, two = find_negative(cache, recipe), find_negative(cache, other)
    assert one is not None
    assert two is not None
    assert not torch.equal(one.tensors[EMBEDDING], two.tensors[EMBEDDING])
    assert find_negative(cache, change(recipe, negative_prompt="a blot")) is None


def test_a_crash_repeats_no_more_than_the_last_prompts(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    seen = list[tuple[int, int]]()
    prompts = prompts_of(recipe, [f"cup {number}" for number in range(70)])
    embed_missing(prompts, models, cache, lambda done, total: seen.append((done, total)))
    assert seen == [(64, 70), (70, 70)]


def test_a_report_hears_of_those_that_are_of_no_use_too(
    models: WatchedModels, recipe: Recipe, cache: FolderCache
) -> None:
    models.watched.spoilt = dict.fromkeys(TEXTS, 0.0)
    seen = list[tuple[int, int]]()
    prompts = prompts_of(recipe)
    found = embed_missing(prompts, models, cache, lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3)]
    assert set(found.faults) == set(prompts)


def test_vectors_are_read_a_few_at_once_and_are_those_of_the_embeddings(
    models: WatchedModels, recipe: Recipe, cache: FolderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = prompts_of(recipe)
    embed_missing(prompts, models, cache)
    monkeypatch.setattr("hierdiff_core.embedding_cache._FOUND", 2)
    vectors, whole = find_vectors(cache, prompts), find_embeddings(cache, prompts)
    assert list(vectors) == prompts
    assert all(np.array_equal(vectors[each], whole[each].vector) for each in prompts)
    assert embed_missing(prompts, models, cache).made == 0
