"""SDXL: tokens and a pooled vector of two CLIP encoders steer a U-Net.

Trees are built on the pooled vector. Without a negative prompt, guidance steers away from zeros
where the folder says so, as its pipeline does. Pictures get its watermark where the option
`watermark` asks for it. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import (
    autoencoder_scale,
    check_sides,
    decode_latents,
    made_size,
)
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part
from hierdiff_core.models.guidance import GUIDANCE, check_guidance
from hierdiff_core.models.lora import LORA, adapter_of
from hierdiff_core.models.picture_side import (
    PictureSide,
    load_picture_side,
    load_text_side,
)
from hierdiff_core.models.schedules import own_defaults, read_scheduler
from hierdiff_core.models.text import PromptCheck, check_all
from hierdiff_core.models.text_side import BATCH, TextSide
from hierdiff_core.models.unet import cast, evaluate_unet, fit_unet, unet_forwards
from hierdiff_core.models.watermark import WATERMARK, check_watermark, mark
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, POOLED = "prompt_embeds", "pooled_prompt_embeds"
SLOTS = (Slot(TOKENS, "tokens"), Slot(POOLED, "vector"))
OPTIONS = (*GUIDANCE, *LORA, WATERMARK)
TEXT_DRAWS = False
forwards = unet_forwards
TEXT = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
PICTURE = ("unet", "vae", "scheduler")


def read_defaults(model: str) -> Defaults:
    usual = Defaults("euler", 50, 5.0, *made_size(model, "vae"))
    return own_defaults(model, "diffusion", usual)


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT, adapter_of(recipe))


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE, adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, autoencoder_scale(recipe.model, "vae"))
    check_guidance(recipe)
    check_watermark(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    names = ("tokenizer", "tokenizer_2")
    return check_all(PromptCheck(load_part(CLIPTokenizer, recipe.model, name)) for name in names)


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    return NoiseSchedule("diffusion", read_scheduler(recipe.model))


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(StableDiffusionXLPipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline), partial(_encode_negative, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(StableDiffusionXLPipeline, recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    unet = networks.unet
    size = (recipe.height, recipe.width)
    # Of the uncropped original, of the crop's corner, of the picture that is asked for.
    times = torch.tensor([[*size, 0, 0, *size]], dtype=unet.dtype, device=unet.device)

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        rows = cast(conditioning, unet.dtype)
        more = {"text_embeds": rows[POOLED], "time_ids": times.expand(len(latents), -1)}
        inputs = latents, timesteps, rows[TOKENS]
        return evaluate_unet(networks, recipe, *inputs, added_cond_kwargs=more)

    side = fit_unet(networks, recipe, load_schedule(recipe), SLOTS, network, negative)
    return replace(
        side, decoder=lambda latents: mark(recipe, decode_latents(networks.vae, latents))
    )


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    tokens, _, pooled, _ = pipeline.encode_prompt(
        texts, device=pipeline.text_encoder_2.device, do_classifier_free_guidance=False
    )
    return pooled, {TOKENS: tokens, POOLED: pooled}


def _encode_negative(pipeline: Any, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    _, made = _encode(pipeline, [recipe.negative_prompt] * BATCH, recipe)
    zeros = pipeline.config.force_zeros_for_empty_prompt and not recipe.negative_prompt
    return {name: torch.zeros_like(each[:1]) if zeros else each[:1] for name, each in made.items()}
