"""Stable Diffusion 3 and 3.5: CLIP's and T5's tokens beside each other steer a flow transformer.

Trees are built on the two pooled CLIP vectors. A folder without T5 gets zeros in its place, as in
the pipeline. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import autoencoder_scale, check_sides, decode_latents
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import existing_parts, load_part, read_config, read_number
from hierdiff_core.models.guidance import (
    GUIDANCE,
    check_guidance,
    guided_forwards,
    make_guidance,
)
from hierdiff_core.models.lora import LORA, adapter_of
from hierdiff_core.models.picture_side import (
    PictureSide,
    load_picture_side,
    load_text_side,
    on_device,
)
from hierdiff_core.models.schedules import own_defaults, read_scheduler, shift_by_tokens
from hierdiff_core.models.text import PromptCheck, check_all
from hierdiff_core.models.text_side import TextSide
from hierdiff_core.models.unet import cast
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, POOLED = "prompt_embeds", "pooled_prompt_embeds"
SLOTS = (Slot(TOKENS, "tokens"), Slot(POOLED, "vector"))
LENGTH = Option("max_tokens", 256, "tokens that T5 reads, padding included", least=1, text=True)
OPTIONS = (LENGTH, *GUIDANCE, *LORA)
TEXT_DRAWS = False
forwards = guided_forwards
CLIPS = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
T5 = ("tokenizer_3", "text_encoder_3")
PICTURE = ("transformer", "vae", "scheduler")


def read_defaults(model: str) -> Defaults:
    side = read_number(model, "transformer", "sample_size") * autoencoder_scale(model, "vae")
    return own_defaults(model, "flow", Defaults("flow_euler", 28, 7.0, side, side))


def text_parts(recipe: Recipe) -> Parts:
    parts = CLIPS + existing_parts(recipe.model, T5)
    return Parts(recipe.model, parts, adapter_of(recipe))


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE, adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, _side(recipe.model))
    check_guidance(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    # What CLIP cuts off, T5 still reads.
    if not existing_parts(recipe.model, T5):
        names = ("tokenizer", "tokenizer_2")
        return check_all(
            PromptCheck(load_part(AutoTokenizer, recipe.model, name)) for name in names
        )
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer_3")
    return PromptCheck(tokenizer, recipe.option("max_tokens"))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    config, side = read_scheduler(recipe.model), _side(recipe.model)
    if not config.get("use_dynamic_shifting"):
        return NoiseSchedule("flow", config)
    mu = shift_by_tokens(config, (recipe.height // side) * (recipe.width // side), 1.16)
    return NoiseSchedule("flow", config, mu=lambda steps: mu)


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    parts = text_parts(recipe).folders
    pipeline = load_text_side(StableDiffusion3Pipeline, recipe, parts, device)
    if pipeline.text_encoder_3 is None:  # the pipeline asks its network for the width of zeros
        config = read_config(recipe.model, "transformer")
        wide = SimpleNamespace(joint_attention_dim=config["joint_attention_dim"])
        pipeline.transformer = SimpleNamespace(config=wide)
    return TextSide(pipeline, partial(_encode, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(StableDiffusion3Pipeline, recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    transformer, scale = networks.transformer, networks.vae_scale_factor
    schedule = load_schedule(recipe)

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        rows = cast(conditioning, transformer.dtype)
        prediction: torch.Tensor = transformer(
            hidden_states=latents.to(transformer.dtype),
            timestep=timesteps,
            encoder_hidden_states=rows[TOKENS],
            pooled_projections=rows[POOLED],
        ).sample
        return prediction.float()

    return PictureSide(
        networks,
        recipe,
        schedule,
        (transformer.config.in_channels, recipe.height // scale, recipe.width // scale),
        SLOTS,
        transformer.device,
        network,
        partial(decode_latents, networks.vae),
        make_guidance(recipe, schedule),
        on_device(negative, transformer.device),
    )


def _side(model: str) -> int:
    """Return the pixels of a token's side."""
    return autoencoder_scale(model, "vae") * read_number(model, "transformer", "patch_size")


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    tokens, _, pooled, _ = pipeline.encode_prompt(
        texts,
        None,
        None,
        device=pipeline.text_encoder.device,
        do_classifier_free_guidance=False,
        max_sequence_length=recipe.option("max_tokens"),
    )
    return pooled, {TOKENS: tokens, POOLED: pooled}
