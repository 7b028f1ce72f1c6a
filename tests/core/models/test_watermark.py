"""SDXL's watermark is drawn where it is asked for and can be, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.watermark import StableDiffusionXLWatermarker
from diffusers.utils.import_utils import is_invisible_watermark_available

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import to_pixels
from hierdiff_core.models.recipes import make_recipe
from hierdiff_core.models.stable_diffusion_xl import fit, load_encoder, load_networks

SIDE = 256
installed = is_invisible_watermark_available()


@pytest.fixture(scope="module")
def folder(tiny_folder: Callable[[str], Path]) -> str:
    return str(tiny_folder("stable_diffusion_xl"))


def test_another_value_is_refused(folder: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        make_recipe(folder, {"watermark": "stamp"})
    assert str(refused.value) == "Setting watermark is 'stamp': use none or invisible."


@pytest.mark.skipif(installed, reason="the package is installed")
def test_without_its_package_it_is_refused_in_one_line(folder: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        make_recipe(folder, {"watermark": "invisible"}, height=SIDE, width=SIDE)
    assert str(refused.value) == (
        "Setting watermark is 'invisible': install the package invisible-watermark, or use none."
    )


@pytest.mark.skipif(not installed, reason="needs the package invisible-watermark")
def test_the_mark_is_that_of_its_pipeline_and_small_pictures_are_refused(folder: str) -> None:
    with pytest.raises(InvalidSetting, match="use none, or pictures of 256 pixels a side or more"):
        make_recipe(folder, {"watermark": "invisible"}, height=SIDE, width=SIDE - 2)
    size = {"height": SIDE, "width": SIDE}
    plain, marked = (make_recipe(folder, {"watermark": it}, **size) for it in ("none", "invisible"))
    negative = load_encoder(plain, "cpu").embed_negative(plain)
    networks = load_networks(plain, "cpu")
    latents = torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(1))
    before, after = (
        fit(networks, recipe, negative).decode(latents, ["a"]) for recipe in (plain, marked)
    )
    with torch.no_grad():
        decoded = networks.vae.decode(latents / networks.vae.config.scaling_factor).sample
    stock = to_pixels(StableDiffusionXLWatermarker().apply_watermark(decoded), SIDE, SIDE)
    np.testing.assert_array_equal(after, stock)
    assert not np.array_equal(after, before)
