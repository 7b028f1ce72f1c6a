"""FLUX.1: T5's tokens and CLIP's pooled vector steer a flow transformer over packed latents.

Trees are built on the pooled vector. Models that are distilled for guidance (dev) are told it as a
number, in one forward pass; others (schnell) have none. A negative prompt needs real guidance
beside it, the option `true_cfg`, which takes a second pass. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from diffusers import FluxPipeline
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import autoencoder_scale, check_sides, decode_latents
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, read_config
from hierdiff_core.models.guidance import (
    INTERVAL,
    check_guidance,
    guided_forwards,
    make_guidance,
)
from hierdiff_core.models.lora import LORA, adapter_of
from hierdiff_core.models.packing import grid_of, unpack_latents
from hierdiff_core.models.picture_side import (
    PictureSide,
    load_picture_side,
    load_text_side,
    on_device,
)
from hierdiff_core.models.schedules import flow_by_tokens, own_defaults
from hierdiff_core.models.text import PromptCheck
from hierdiff_core.models.text_side import TextSide
from hierdiff_core.models.unet import cast
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, POOLED = "prompt_embeds", "pooled_prompt_embeds"
SLOTS = (Slot(TOKENS, "tokens"), Slot(POOLED, "vector"))  # padding is part of the input
OPTIONS = (
    Option("max_tokens", 512, "tokens that T5 reads, padding included", least=1, text=True),
    Option("true_cfg", 1.0, "scale of guidance away from a negative prompt; 1: none", least=0),
    *INTERVAL,
    *LORA,
)
TEXT_DRAWS = False
TEXT = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
PICTURE = ("transformer", "vae", "scheduler")
_SIDE = 128  # latents of the side that it was trained on
_LONGEST = 512


def read_defaults(model: str) -> Defaults:
    side = _SIDE * autoencoder_scale(model, "vae")
    if _embeds_guidance(model):
        return own_defaults(model, "flow", Defaults("flow_euler", 28, 3.5, side, side))
    return own_defaults(model, "flow", Defaults("flow_euler", 4, 0.0, side, side))


def forwards(recipe: Recipe) -> tuple[int, ...]:
    return guided_forwards(_guided(recipe))


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT, adapter_of(recipe))


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE, adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, 2 * autoencoder_scale(recipe.model, "vae"))
    check_guidance(recipe)
    if recipe.guidance and not _embeds_guidance(recipe.model):
        hint = "use 0: the model was distilled to do without"
        raise InvalidSetting(setting="guidance", value=recipe.guidance, hint=hint)
    if recipe.negative_prompt and recipe.option("true_cfg") <= 1:
        hint = "use none, or set the option true_cfg above 1, at the price of a second pass"
        raise InvalidSetting(setting="negative_prompt", value=recipe.negative_prompt, hint=hint)
    if recipe.option("max_tokens") > _LONGEST:
        hint = f"use 1 to {_LONGEST}"
        raise InvalidSetting(setting="max_tokens", value=recipe.option("max_tokens"), hint=hint)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    # CLIP gives one pooled vector only; what it cuts off, T5 still reads.
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer_2")
    return PromptCheck(tokenizer, recipe.option("max_tokens"))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    rows, columns = _grid(recipe)
    return flow_by_tokens(recipe.model, rows * columns, euler_only=True)


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(FluxPipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(FluxPipeline, recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    transformer, schedule, (rows, columns) = (
        networks.transformer,
        load_schedule(recipe),
        _grid(recipe),
    )
    device, dtype = transformer.device, transformer.dtype
    places = networks._prepare_latent_image_ids(1, rows, columns, device, dtype)
    words = torch.zeros(recipe.option("max_tokens"), 3, device=device, dtype=dtype)

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        given = cast(conditioning, dtype)
        told = torch.full((len(latents),), recipe.guidance, device=device)
        prediction: torch.Tensor = transformer(
            hidden_states=latents.to(dtype),
            timestep=timesteps.to(dtype) / 1000,  # rounded first, as by the pipeline
            guidance=told if transformer.config.guidance_embeds else None,
            pooled_projections=given[POOLED],
            encoder_hidden_states=given[TOKENS],
            txt_ids=words,
            img_ids=places,
        ).sample
        return prediction.float()

    def decode(latents: torch.Tensor) -> torch.Tensor:
        return decode_latents(networks.vae, unpack_latents(latents, rows, columns))

    return PictureSide(
        networks,
        recipe,
        schedule,
        (rows * columns, transformer.config.in_channels),
        SLOTS,
        device,
        network,
        decode,
        make_guidance(_guided(recipe), schedule),
        on_device(negative, device),
    )


def _guided(recipe: Recipe) -> Recipe:
    """Return the recipe with the scale of what guides it beside the network's own."""
    scale = recipe.option("true_cfg") if recipe.negative_prompt else 1.0
    return replace(recipe, guidance=scale)


def _grid(recipe: Recipe) -> tuple[int, int]:
    return grid_of(recipe.height, recipe.width, 2 * autoencoder_scale(recipe.model, "vae"))


def _embeds_guidance(model: str) -> bool:
    return bool(read_config(model, "transformer").get("guidance_embeds"))


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    tokens, pooled, _ = pipeline.encode_prompt(
        texts,
        device=pipeline.text_encoder.device,
        max_sequence_length=recipe.option("max_tokens"),
    )
    return pooled, {TOKENS: tokens, POOLED: pooled}
