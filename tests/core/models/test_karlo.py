"""Karlo: its parts are loaded one by one, and it makes one size, away from no words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UnCLIPPipeline, UnCLIPScheduler

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.library import generate
from hierdiff_core.models.karlo import (
    PICTURE,
    TEXT,
    fit,
    load_encoder,
    load_networks,
    load_schedule,
)
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from tests.core.tiny.pipelines import MODELS

TEXTS = ("a red cup", "a blue cup", "two pots", "a hat", "a cup")


@pytest.fixture(scope="module")
def folder(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("karlo")


def recipe_of(folder: Path, **fields: Any) -> Recipe:
    return make_recipe(str(folder), dict(MODELS["karlo"].options), **fields)


def test_diffusers_itself_cannot_load_the_folder(folder: Path) -> None:
    with pytest.raises((AttributeError, ValueError, ImportError)):
        UnCLIPPipeline.from_pretrained(folder)


@pytest.mark.parametrize("library", ["diffusers", "unclip"])
def test_parts_are_found_by_their_class_whatever_the_index_calls_their_library(
    folder: Path, tmp_path: Path, library: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    index = json.loads((copy / "model_index.json").read_text())
    index["text_proj"][0] = library
    (copy / "model_index.json").write_text(json.dumps(index))
    networks = load_networks(recipe_of(copy), "cpu")
    assert {name for name, part in networks.components.items() if part} == set(PICTURE)


def test_each_side_is_loaded_from_a_folder_that_lacks_the_other(
    folder: Path, tmp_path: Path
) -> None:
    halves = []
    for parts in (TEXT, PICTURE):
        half = tmp_path / f"half-{len(parts)}"
        half.mkdir()
        for name in ("model_index.json", *parts, "super_res_first"):
            copy = shutil.copytree if (folder / name).is_dir() else shutil.copy
            if not (half / name).exists():
                copy(folder / name, half / name)
        halves.append(recipe_of(half))
    text, picture = halves
    assert len(load_encoder(text, "cpu").embed([Prompt(1, "", "a cup", text)])) == 1
    assert load_networks(picture, "cpu").decoder is not None
    with pytest.raises(UnknownModel, match="its part tokenizer is missing"):
        load_encoder(picture, "cpu")
    with pytest.raises(UnknownModel, match="its part decoder is missing"):
        load_networks(text, "cpu")


@pytest.mark.parametrize("part", [*TEXT, *PICTURE])
def test_each_revision_follows_the_files_of_its_own_side(
    folder: Path, tmp_path: Path, part: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    before = pin_recipe(recipe_of(copy))
    file = next(each for each in sorted((copy / part).iterdir()) if each.suffix == ".json")
    file.write_text(file.read_text() + "\n")
    after = pin_recipe(recipe_of(copy))
    assert (after.text_revision != before.text_revision) == (part in TEXT)
    assert (after.revision != before.revision) == (part in PICTURE)


def test_noise_levels_are_those_of_its_own_scheduler(folder: Path) -> None:
    config = dict(load_schedule(recipe_of(folder)).complete)
    del config["_class_name"]
    own = UnCLIPScheduler.from_pretrained(folder, subfolder="decoder_scheduler")
    stated = DDPMScheduler.from_config(config)
    assert torch.equal(stated.alphas_cumprod, own.alphas_cumprod)
    assert (stated.config.variance_type, stated.config.clip_sample) == ("learned_range", True)
    for steps in (2, 7, 25):
        stated.set_timesteps(steps)
        own.set_timesteps(steps)
        assert torch.equal(stated.timesteps, own.timesteps)


def test_defaults_are_those_of_its_pipeline(folder: Path) -> None:
    recipe = make_recipe(str(folder))
    assert (recipe.solver, recipe.steps, recipe.guidance) == ("ddpm", 25, 8.0)
    assert (recipe.height, recipe.width) == (32, 32)
    assert {name: recipe.option(name) for name in ("prior_steps", "prior_guidance")} == {
        "prior_steps": 25,
        "prior_guidance": 4.0,
    }
    assert recipe.option("super_res_steps") == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 64}, "Setting height is 64: use 32, the one size that the model makes."),
        ({"width": 16}, "Setting width is 16: use 32, the one size that the model makes."),
        (
            {"negative_prompt": "a blur"},
            "Setting negative_prompt is 'a blur': use none: "
            "the model's guidance is away from no words.",
        ),
    ],
)
def test_what_it_cannot_make_is_refused_in_one_line(
    folder: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        recipe_of(folder, **fields)
    assert str(refused.value) == message


@pytest.mark.parametrize("name", ["prior_steps", "super_res_steps"])
def test_samplers_that_divide_by_one_less_take_two_steps_or_more(folder: Path, name: str) -> None:
    with pytest.raises(InvalidSetting, match=f"Setting {name} is 1: use a whole number from 2"):
        make_recipe(str(folder), {name: 1})


def test_a_picture_is_the_same_whatever_is_made_beside_it_and_by_any_slots(folder: Path) -> None:
    def make(texts: tuple[str, ...], slots: int) -> Any:
        return generate(
            str(folder),
            texts,
            tau=0.0,
            steps=3,
            device="cpu",
            slots=slots,
            **MODELS["karlo"].options,
        ).pictures

    together = make(TEXTS, 5)
    assert len({each.tobytes() for each in together}) == len(TEXTS)
    np.testing.assert_array_equal(make(TEXTS[::-1], 5)[::-1], together)
    for row, text in enumerate(TEXTS[:2]):
        # Rounding follows the width of a call, so a run of one is compared with one of one slot.
        np.testing.assert_array_equal(make((text,), 1)[0], make(TEXTS, 1)[row])


def test_a_cpu_enlarges_in_half_precision_what_it_does_in_float32(folder: Path) -> None:
    made = []
    for dtype in ("float32", "bfloat16"):
        recipe = recipe_of(folder, dtype=dtype)
        networks = load_networks(recipe, "cpu")
        negative = load_encoder(recipe, "cpu").embed_negative(recipe)
        denoiser = fit(networks, recipe, negative)
        latents = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)
        made.append(denoiser.decode(latents, ["a picture"]).astype(int))
    assert abs(made[0] - made[1]).mean() < 8
