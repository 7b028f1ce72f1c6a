"""What all families refuse and price alike: caches, and where guidance is on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig, MagCacheConfig

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.family import load_family
from hierdiff_core.models.recipes import make_recipe
from hierdiff_core.prices import step_prices
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import make_solver
from tests.core.tiny.pipelines import MODELS

Folder = Callable[[str], Path]


def recipe_of(tiny_folder: Folder, name: str, **fields: Any) -> Recipe:
    model = MODELS[name]
    size = {"height": model.side, "width": model.side, "steps": 8}
    options = dict(model.options) | fields.pop("options", {})
    return make_recipe(str(tiny_folder(name)), options, **(size | fields))


@pytest.mark.parametrize(
    "cache",
    [FirstBlockCacheConfig(), MagCacheConfig(mag_ratios=torch.ones(8), num_inference_steps=8)],
)
def test_a_cache_of_diffusers_is_refused_in_one_line(tiny_folder: Folder, cache: Any) -> None:
    recipe = recipe_of(tiny_folder, "flux_schnell")
    family = load_family(recipe.family)
    networks = family.load_networks(recipe, "cpu", compiled=False)
    negative = family.load_encoder(recipe, "cpu").embed_negative(recipe)
    family.fit(networks, recipe, negative)
    networks.transformer.enable_cache(cache)
    with pytest.raises(InvalidSetting) as refused:
        family.fit(networks, recipe, negative)
    assert str(refused.value) == (
        "Setting cache is 'transformer': use none: it would make a row depend on the rows beside "
        "it; see docs/models.md."
    )
    networks.transformer.disable_cache()
    family.fit(networks, recipe, negative)


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        ("euler", (1, 1, 2, 2, 2, 2, 1, 1)),
        ("pndm", (1, 1, 1, 2, 2, 2, 2, 1, 1)),  # its second step is evaluated twice
    ],
)
def test_steps_outside_of_the_interval_have_one_pass_and_its_price(
    tiny_folder: Folder, solver: str, expected: tuple[int, ...]
) -> None:
    options = {"guidance_start": 0.25, "guidance_stop": 0.75}
    recipe = recipe_of(tiny_folder, "stable_diffusion_xl", options=options, solver=solver)
    family = load_family(recipe.family)
    assert family.forwards(recipe) == expected
    mean = sum(expected) / len(expected)
    assert step_prices(recipe).tolist() == [passes / mean for passes in expected]
    networks = family.load_networks(recipe, "cpu", compiled=False)
    negative = family.load_encoder(recipe, "cpu").embed_negative(recipe)
    denoiser = family.fit(networks, recipe, negative)
    given: list[int] = []
    hook = networks.unet.register_forward_hook(lambda _, __, out: given.append(len(out[0])))
    made = make_solver(solver, denoiser.noise_schedule, recipe.steps)
    rows = {name: each.expand(1, *each.shape[1:]) for name, each in negative.tensors.items()}
    with hook, torch.no_grad():
        for timestep in made.timesteps:
            denoiser.predict(torch.zeros(1, *denoiser.latent_shape), timestep[None], rows)
    assert tuple(given) == expected


@pytest.mark.parametrize("name", ["guidance_start", "guidance_stop", "guidance_rescale"])
def test_a_share_above_one_is_refused(tiny_folder: Folder, name: str) -> None:
    with pytest.raises(InvalidSetting, match=f"Setting {name} is 1.5: use 0 to 1"):
        recipe_of(tiny_folder, "stable_diffusion_xl", options={name: 1.5})


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("flux_schnell", {"guidance": 3.5}, "guidance is 3.5: use 0: the model was distilled"),
        ("flux", {"negative_prompt": "a blur"}, "use none, or set the option true_cfg above 1"),
        ("flux", {"options": {"max_tokens": 600}}, "max_tokens is 600: use 1 to 512"),
        ("flux2", {"negative_prompt": "a blur"}, "use none: FLUX.2 takes no negative prompt"),
        ("flux", {"height": 30}, "height is 30: use a multiple of 4"),
        ("kandinsky3", {"height": 96}, "height is 96: use a multiple of 64"),
    ],
)
def test_what_a_family_has_no_use_for_is_refused_before_weights_are_read(
    tiny_folder: Folder, name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        recipe_of(tiny_folder, name, **fields)
