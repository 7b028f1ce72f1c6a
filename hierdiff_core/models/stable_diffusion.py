"""Stable Diffusion 1 and 2: CLIP's tokens steer a U-Net in the space of an autoencoder.

Trees are built on the end token's last hidden state, which depends on every word. The safety
checker is loaded where the option `safety_checker` asks for it. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import (
    autoencoder_scale,
    check_sides,
    made_size,
)
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part
from hierdiff_core.models.guidance import GUIDANCE, check_guidance
from hierdiff_core.models.lora import LORA, adapter_of
from hierdiff_core.models.picture_side import (
    PictureSide,
    Pixels,
    load_picture_side,
    load_text_side,
)
from hierdiff_core.models.safety_checker import (
    CHECKER,
    SAFETY_CHECKER,
    check_option,
    is_on,
    refuse_flagged,
)
from hierdiff_core.models.schedules import own_defaults, read_scheduler
from hierdiff_core.models.text import PromptCheck
from hierdiff_core.models.text_side import TextSide
from hierdiff_core.models.unet import evaluate_unet, fit_unet, unet_forwards
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS = "prompt_embeds"
SLOTS = (Slot(TOKENS, "tokens"),)  # padding is part of the input, so no mask
OPTIONS = (*GUIDANCE, *LORA, SAFETY_CHECKER)
TEXT_DRAWS = False
forwards = unet_forwards
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("unet", "vae", "scheduler")


def read_defaults(model: str) -> Defaults:
    usual = Defaults("ddim", 50, 7.5, *made_size(model, "vae"))
    return own_defaults(model, "diffusion", usual)


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT, adapter_of(recipe))


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, _picture_parts(recipe), adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, autoencoder_scale(recipe.model, "vae"))
    check_guidance(recipe)
    check_option(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    return PromptCheck(load_part(CLIPTokenizer, recipe.model, "tokenizer"))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    """Return the schedule as the pipeline corrects it, whatever scheduler the folder names."""
    corrected = {"steps_offset": 1, "clip_sample": False}
    return NoiseSchedule("diffusion", read_scheduler(recipe.model) | corrected)


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(StableDiffusionPipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    parts = _picture_parts(recipe)
    return load_picture_side(StableDiffusionPipeline, recipe, parts, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        return evaluate_unet(networks, recipe, latents, timesteps, conditioning[TOKENS])

    side = fit_unet(networks, recipe, load_schedule(recipe), SLOTS, network, negative)
    return replace(side, inspect=_inspection(networks, recipe))


def _picture_parts(recipe: Recipe) -> tuple[str, ...]:
    return (*PICTURE, *CHECKER) if is_on(recipe) else PICTURE


def _inspection(networks: Any, recipe: Recipe) -> Callable[[Pixels], Pixels]:
    if not is_on(recipe):
        return lambda pictures: pictures
    return partial(refuse_flagged, networks.safety_checker, networks.feature_extractor)


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    read = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    read = read.to(encoder.device)
    masked = getattr(encoder.config, "use_attention_mask", False)
    states = encoder(read.input_ids, attention_mask=read.attention_mask if masked else None)
    tokens = states.last_hidden_state.float()
    # Padding repeats the end token in some models: the first is the prompt's.
    ends = (read.input_ids == tokenizer.eos_token_id).int().argmax(dim=1)
    return tokens[torch.arange(len(texts)), ends], {TOKENS: tokens}
