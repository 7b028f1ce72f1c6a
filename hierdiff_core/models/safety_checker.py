"""The safety checker that some models carry: pictures that it flags are withheld, never blackened.

A flagged picture fails alone, as latents do that cannot be decoded: a night lists it with its score
and goes on, and nothing of it is stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from hierdiff_core.denoiser import Flagged
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.families import Option
from hierdiff_core.models.folder import existing_parts
from hierdiff_core.recipe import Recipe

NONE, WITHHOLD = "none", "withhold"
SAFETY_CHECKER = Option(
    "safety_checker",
    NONE,
    "withhold pictures that the model's own checker flags, or none",
    added=True,
    finish=True,
)
CHECKER = ("safety_checker", "feature_extractor")
_CARE = 0.01  # how much stricter a picture of special care is judged
_DIGITS = 3  # that scores are rounded to


def is_on(recipe: Recipe) -> bool:
    """Tell whether a recipe withholds what the model's checker flags."""
    return bool(recipe.option(SAFETY_CHECKER.name) == WITHHOLD)


def check_option(recipe: Recipe) -> None:
    """Raise InvalidSetting for another value, or a model without a checker."""
    value = recipe.option(SAFETY_CHECKER.name)
    if value not in (NONE, WITHHOLD):
        hint = f"use {NONE} or {WITHHOLD}"
        raise InvalidSetting(setting=SAFETY_CHECKER.name, value=value, hint=hint)
    if is_on(recipe) and existing_parts(recipe.model, CHECKER) != CHECKER:
        hint = f"use {NONE}: the model's folder has no checker"
        raise InvalidSetting(setting=SAFETY_CHECKER.name, value=value, hint=hint)


@torch.no_grad()
def score(checker: Any, extractor: Any, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return how far each picture (B, height, width, 3) is beyond the nearest concept's limit.

    Above 0 the model's own pipeline blackens it. `checker` is a StableDiffusionSafetyChecker.
    """
    images = [Image.fromarray(each) for each in pictures]
    pixels = extractor(images, return_tensors="pt").pixel_values
    weight = checker.visual_projection.weight
    pooled = checker.vision_model(pixels.to(weight.device, weight.dtype))[1]
    embedded = checker.visual_projection(pooled)
    special = _beyond(embedded, checker.special_care_embeds, checker.special_care_embeds_weights)
    concepts = _beyond(embedded, checker.concept_embeds, checker.concept_embeds_weights)
    care = _CARE * (special.round(_DIGITS).max(axis=1) > 0)
    worst: npt.NDArray[np.float64] = (concepts + care[:, None]).max(axis=1).round(_DIGITS)
    return worst


def refuse_flagged(
    checker: Any, extractor: Any, pictures: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Return the pictures; raises Flagged if there is one that the checker flags."""
    scores = score(checker, extractor, pictures)
    if (worst := float(scores.max())) > 0:
        reason = f"the model's safety checker flags it, {worst:g} beyond its limit"
        raise Flagged(reason)
    return pictures


def _beyond(
    rows: torch.Tensor, concepts: torch.Tensor, limits: torch.Tensor
) -> npt.NDArray[np.float64]:
    """Return by how much the cosines of rows and concepts (B, C) exceed their limits."""
    cosines = functional.normalize(rows) @ functional.normalize(concepts).T
    return np.asarray((cosines.float().cpu() - limits.float().cpu()).double())
