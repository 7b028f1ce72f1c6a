"""The invisible watermark that SDXL's makers draw into its pictures, as an option."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_xl.watermark import StableDiffusionXLWatermarker
from diffusers.utils.import_utils import is_invisible_watermark_available

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.families import Option
from hierdiff_core.recipe import Recipe

NONE, INVISIBLE = "none", "invisible"
WATERMARK = Option(
    "watermark",
    NONE,
    "invisible: the mark that SDXL's own pipeline draws; or none",
    added=True,
    finish=True,
)
_LEAST = 256  # pixels of a side, below which the mark does not fit


def check_watermark(recipe: Recipe) -> None:
    """Raise InvalidSetting for a mark that cannot be drawn here, or into such small pictures."""
    value = recipe.option(WATERMARK.name)
    if value == NONE:
        return
    hint = ""
    if value != INVISIBLE:
        hint = f"use {NONE} or {INVISIBLE}"
    elif not is_invisible_watermark_available():
        hint = f"install the package invisible-watermark, or use {NONE}"
    elif min(recipe.height, recipe.width) < _LEAST:
        hint = f"use {NONE}, or pictures of {_LEAST} pixels a side or more"
    if hint:
        raise InvalidSetting(setting=WATERMARK.name, value=value, hint=hint)


def mark(recipe: Recipe, decoded: torch.Tensor) -> torch.Tensor:
    """Return pictures (B, 3, h, w), from -1 to 1, with the mark that a recipe asks for."""
    if recipe.option(WATERMARK.name) == NONE:
        return decoded
    marker: Any = StableDiffusionXLWatermarker()
    marked: torch.Tensor = marker.apply_watermark(decoded.float())
    return marked
