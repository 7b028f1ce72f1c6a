"""Recipes of real folders: what a model asks for by itself, and what is refused of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hierdiff_core.errors import InvalidSetting, UnknownModel, WrongRevision
from hierdiff_core.miniature import MODEL, PRIOR_MODEL
from hierdiff_core.models.families import FAMILIES
from hierdiff_core.models.family import Parts
from hierdiff_core.models.recipes import check_revision, make_recipe, pin_recipe
from hierdiff_core.recipe import compatibility_key


@pytest.fixture
def decoder(folders: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders.decoder, tmp_path / "decoder"))


def refusal(model: object, kind: type[Exception] = InvalidSetting, **asked: Any) -> str:
    with pytest.raises(kind) as refused:
        make_recipe(str(model), **asked)
    line = str(refused.value)
    assert "\n" not in line
    return line


# Of the options that guidance has where it takes a second pass.
UNGUIDED = {"guidance_start": 0.0, "guidance_stop": 1.0, "guidance_rescale": 0.0}
UNCHANGED = {"lora": "", "lora_scale": 1.0, "safety_checker": "none"}


def test_the_shipped_models_name_is_enough() -> None:
    recipe = make_recipe(MODEL)
    assert (recipe.family, recipe.model, recipe.solver) == ("kandinsky22", MODEL, "ddim")
    assert (recipe.height, recipe.width, recipe.steps, recipe.guidance) == (64, 64, 8, 4.0)
    prior = {"prior": PRIOR_MODEL, "prior_steps": 25, "prior_guidance": 4.0}
    assert dict(recipe.options) == prior | UNGUIDED
    assert (recipe.revision, recipe.text_revision, recipe.seed) == ("", "", 0)


def test_a_folder_is_enough_and_its_configs_say_the_size(
    folders: Any, stable_diffusion: Path
) -> None:
    kandinsky = make_recipe(str(folders.decoder), {"prior": str(folders.prior)})
    assert (kandinsky.family, kandinsky.solver) == ("kandinsky22", "ddim")
    assert (kandinsky.height, kandinsky.width) == (16, 16)  # four latents, each of four pixels
    assert (kandinsky.steps, kandinsky.guidance) == (40, 4.0)
    recipe = make_recipe(str(stable_diffusion))
    assert (recipe.family, recipe.solver) == ("stable_diffusion", "pndm")
    assert (recipe.height, recipe.width) == (32, 32)
    assert (recipe.steps, recipe.guidance, dict(recipe.options)) == (50, 7.5, UNGUIDED | UNCHANGED)


def test_a_model_that_names_no_prior_takes_the_published_one(folders: Any) -> None:
    line = refusal(folders.decoder, UnknownModel)
    assert line.startswith("Model 'kandinsky-community/kandinsky-2-2-prior' cannot be loaded: ")


def test_what_is_asked_for_comes_before_what_the_model_says() -> None:
    recipe = make_recipe(MODEL, {"prior_steps": 9}, steps=3, solver="ddpm", width=128, seed=5)
    assert (recipe.steps, recipe.solver, recipe.width, recipe.seed) == (3, "ddpm", 128, 5)
    assert (recipe.height, recipe.guidance, recipe.options["prior_steps"]) == (64, 4.0, 9)


def test_what_is_left_open_is_the_models_own() -> None:
    assert make_recipe(MODEL, None, steps=None, guidance=None, height=None) == make_recipe(MODEL)
    assert make_recipe(MODEL, {"prior": None, "prior_steps": None}) == make_recipe(MODEL)


def test_options_are_read_from_text() -> None:
    text = make_recipe(MODEL, {"prior_steps": "9", "prior_guidance": "3"})
    number = make_recipe(MODEL, {"prior_steps": 9, "prior_guidance": 3.0})
    assert text == number
    types = {name: type(text.options[name]) for name in ("prior", "prior_guidance", "prior_steps")}
    assert list(types.values()) == [str, float, int]
    assert compatibility_key(text) == compatibility_key(number)
    assert compatibility_key(make_recipe(MODEL, {"prior_steps": 9, "prior_guidance": 3})) == (
        compatibility_key(number)
    )


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("prior_steps", 1, "use a whole number from 2"),
        ("prior_steps", "1", "use a whole number from 2"),
        ("prior_steps", "many", "use a whole number from 2"),
        ("prior_steps", 2.5, "use a whole number from 2"),
        ("prior_steps", "2.5", "use a whole number from 2"),
        ("prior_guidance", -1, "use a number from 0"),
        ("prior_guidance", "much", "use a number from 0"),
        ("prior_guidance", float("nan"), "use a number from 0"),
        ("prior_guidance", float("inf"), "use a number from 0"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(name: str, value: object, hint: str) -> None:
    assert refusal(MODEL, options={name: value}) == f"Setting {name} is {value!r}: {hint}."


def test_an_option_that_a_family_does_not_have_is_refused_with_the_nearest_name(
    stable_diffusion: Path,
) -> None:
    common = "classifier, classifier_labels, classifier_threshold"
    line = refusal(MODEL, options={"prior_step": 9})
    assert "prior_step " in line
    assert line.endswith("kandinsky22 has no such option; did you mean prior_steps.")
    line = refusal(MODEL, options={"colour": "red"})
    named = "prior, prior_steps, prior_guidance, guidance_start, guidance_stop, guidance_rescale"
    assert line.endswith(f"has no such option; it has {named}, {common}.")
    line = refusal(stable_diffusion, options={"prior": PRIOR_MODEL})
    named = "guidance_start, guidance_stop, guidance_rescale, lora, lora_scale, safety_checker"
    assert line.endswith(f"no such option; it has {named}, {common}.")


def test_a_field_that_cannot_be_followed_is_refused() -> None:
    assert refusal(MODEL, steps=0) == "Setting steps is 0: use a whole number above 0."


def test_a_prior_whose_embeddings_do_not_fit_is_refused_before_weights_are_read(
    folders: Any, tmp_path: Path
) -> None:
    other = tmp_path / "prior"
    shutil.copytree(folders.prior, other, ignore=shutil.ignore_patterns("*.safetensors"))
    config = other / "prior/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"embedding_dim": 24}))
    line = refusal(folders.decoder, UnknownModel, options={"prior": str(other)})
    assert line == (
        f"Model '{other}' cannot be loaded: its embeddings have 24 numbers, {folders.decoder} "
        "wants 16; set the option prior to the one that belongs to the model."
    )


def test_a_model_of_an_unknown_class_is_refused_with_those_that_are_known(decoder: Path) -> None:
    index = decoder / "model_index.json"
    fields = json.loads(index.read_text()) | {"_class_name": "WanPipeline"}
    index.write_text(json.dumps(fields))
    assert refusal(decoder, UnknownModel) == (
        f"Model '{decoder}' cannot be loaded: it is a WanPipeline; "
        f"known are {', '.join(sorted(FAMILIES))}."
    )


def test_a_model_without_a_class_and_one_that_is_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    assert "it is a nameless pipeline" in refusal(tmp_path, UnknownModel)
    assert "neither a folder nor a hub name" in refusal(tmp_path / "nowhere", UnknownModel)


def test_a_config_that_lacks_what_is_read_of_it_is_refused(folders: Any, decoder: Path) -> None:
    config = decoder / "unet/config.json"
    fields = json.loads(config.read_text())
    del fields["encoder_hid_dim"]
    config.write_text(json.dumps(fields))
    refusal(decoder, UnknownModel, options={"prior": str(folders.prior)})


def test_a_pinned_recipe_follows_the_files_of_its_two_sides(folders: Any, decoder: Path) -> None:
    recipe = make_recipe(str(decoder), {"prior": str(folders.prior)})
    pinned = pin_recipe(recipe)
    assert len({pinned.revision, pinned.text_revision, ""}) == 3
    assert pin_recipe(make_recipe(str(folders.decoder), recipe.options)).revision == pinned.revision
    weights = decoder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    again = pin_recipe(recipe)
    assert again.revision != pinned.revision
    assert again.text_revision == pinned.text_revision


def test_weights_that_changed_since_a_recipe_was_pinned_are_refused(
    folders: Any, decoder: Path, tmp_path: Path
) -> None:
    parts, cache = Parts(str(decoder)), tmp_path / "digests.json"
    recipe = pin_recipe(make_recipe(str(decoder), {"prior": str(folders.prior)}))
    check_revision(parts, recipe.revision, cache)
    check_revision(parts, "", cache)  # what is not pinned is not checked
    config = decoder / "scheduler/scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    with pytest.raises(WrongRevision) as refused:
        check_revision(parts, recipe.revision, cache)
    assert str(refused.value).startswith(f"Model {decoder} has revision ")
    assert f"the plan was made for {recipe.revision};" in str(refused.value)
