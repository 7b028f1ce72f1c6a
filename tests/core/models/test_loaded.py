"""Models in memory: each side once, and only with the weights that a recipe was pinned to."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from hierdiff_core.embedding import Conditioning
from hierdiff_core.errors import InvalidSetting, WrongRevision
from hierdiff_core.models import loaded
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.models.loaded import Models, hold_networks
from hierdiff_core.models.recipes import pin_recipe
from hierdiff_core.recipe import Recipe
from tests.core.conftest import Folders
from tests.core.recipes import change

NEGATIVE = Conditioning({EMBEDDING: torch.zeros(1, 16)})


@pytest.fixture
def models() -> Models:
    return Models("cpu")


@pytest.fixture
def recipe(folders: Any, tmp_path: Path) -> Recipe:
    """Return a pinned recipe of folders that a test may change."""
    decoder = Path(shutil.copytree(folders.decoder, tmp_path / "decoder"))
    prior = Path(shutil.copytree(folders.prior, tmp_path / "prior"))
    return pin_recipe(Folders(decoder, prior).recipe())


def spoil(folder: str) -> None:
    """Change a file that is loaded."""
    index = Path(folder) / "model_index.json"
    index.write_text(index.read_text() + "\n")


def decoder_of(models: Models, recipe: Recipe) -> Decoder:
    denoiser = models.denoiser(recipe, NEGATIVE)
    assert isinstance(denoiser, Decoder)
    return denoiser


def test_each_side_is_loaded_once(models: Models, recipe: Recipe) -> None:
    assert models.encoder(recipe) is models.encoder(recipe)
    first, second = decoder_of(models, recipe), decoder_of(models, recipe)
    assert first.pipeline is second.pipeline


def test_recipes_of_one_model_are_served_by_the_same_networks(
    models: Models, recipe: Recipe
) -> None:
    other = change(recipe, guidance=1.0, width=32, seed=9, steps=3, prior_steps=4)
    assert models.encoder(other) is models.encoder(recipe)
    one, two = decoder_of(models, recipe), decoder_of(models, other)
    assert one.pipeline is two.pipeline
    assert (one.recipe, two.recipe) == (recipe, other)
    assert one.latent_shape != two.latent_shape


def test_another_precision_is_loaded_apart(models: Models, recipe: Recipe) -> None:
    half = change(recipe, dtype="bfloat16")
    assert models.encoder(half) is not models.encoder(recipe)
    assert decoder_of(models, half).pipeline.unet.dtype is torch.bfloat16
    assert decoder_of(models, recipe).pipeline.unet.dtype is torch.float32


def test_weights_that_are_not_those_of_the_recipe_are_refused(
    models: Models, recipe: Recipe
) -> None:
    spoil(recipe.model)
    models.encoder(recipe)  # the other side is as it was
    with pytest.raises(WrongRevision) as refused:
        models.denoiser(recipe, NEGATIVE)
    assert f"was made for {recipe.revision}" in str(refused.value)
    spoil(recipe.options["prior"])
    with pytest.raises(WrongRevision, match=recipe.text_revision):
        Models("cpu").encoder(recipe)


def test_what_is_loaded_serves_its_own_revision_and_no_other(
    models: Models, recipe: Recipe
) -> None:
    before = models.encoder(recipe)
    spoil(recipe.options["prior"])
    later = pin_recipe(recipe)
    assert models.encoder(later) is not before
    assert models.encoder(recipe) is before


def test_a_recipe_that_is_not_pinned_is_served(models: Models, recipe: Recipe) -> None:
    loose = change(recipe, revision="", text_revision="")
    assert models.encoder(loose) is models.encoder(loose)
    assert decoder_of(models, loose).recipe == loose


def test_digests_of_weights_are_kept_where_it_is_said(recipe: Recipe, tmp_path: Path) -> None:
    models = Models("cpu", digests=tmp_path / "digests.json")
    models.encoder(recipe)
    assert (tmp_path / "digests.json").is_file()


def test_encoders_are_let_go_of_and_networks_are_kept(models: Models, recipe: Recipe) -> None:
    encoder = weakref.ref(models.encoder(recipe))
    networks = decoder_of(models, recipe).pipeline
    models.forget_encoders()
    gc.collect()
    assert encoder() is None
    assert decoder_of(models, recipe).pipeline is networks
    assert models.encoder(recipe).embed([]) == []  # loaded again where it is asked for


@pytest.fixture
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "_HELD", {})


@pytest.mark.usefixtures("nothing_held")
def test_what_is_held_is_used_by_all_and_read_from_no_file(recipe: Recipe) -> None:
    hold_networks(recipe)
    one, two = decoder_of(Models("cpu"), recipe), decoder_of(Models("cpu"), recipe)
    assert one.pipeline is two.pipeline
    spoil(recipe.model)
    assert decoder_of(Models("cpu"), recipe).pipeline is one.pipeline


@pytest.mark.usefixtures("nothing_held")
def test_what_is_held_serves_its_own_weights_and_precision_alone(recipe: Recipe) -> None:
    hold_networks(recipe)
    held = decoder_of(Models("cpu"), recipe).pipeline
    assert decoder_of(Models("cpu"), change(recipe, dtype="bfloat16")).pipeline is not held
    spoil(recipe.model)
    with pytest.raises(WrongRevision):
        hold_networks(recipe)
    assert decoder_of(Models("cpu"), pin_recipe(recipe)).pipeline is not held


@pytest.mark.usefixtures("nothing_held")
def test_half_precision_may_be_held_and_is_refused_on_a_cpu_all_the_same(recipe: Recipe) -> None:
    half = change(recipe, dtype="float16")
    hold_networks(half)
    with pytest.raises(InvalidSetting, match="a CPU needs float32 or bfloat16"):
        Models("cpu").denoiser(half, NEGATIVE)
