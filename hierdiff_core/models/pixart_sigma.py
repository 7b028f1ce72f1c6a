"""PixArt-Sigma: T5's masked tokens steer a diffusion transformer.

T5 has no token that has seen all others, so trees are built on the mean of a prompt's tokens. Text
is read in lower case, and pictures are made at the size that is asked for, without the pipeline's
bins. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import PixArtSigmaPipeline
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import (
    autoencoder_scale,
    check_sides,
    decode_latents,
)
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, read_number
from hierdiff_core.models.guidance import (
    GUIDANCE,
    check_guidance,
    guided_forwards,
    make_guidance,
)
from hierdiff_core.models.picture_side import (
    PictureSide,
    load_picture_side,
    load_text_side,
    on_device,
)
from hierdiff_core.models.schedules import own_defaults, read_scheduler
from hierdiff_core.models.text import PromptCheck
from hierdiff_core.models.text_side import TextSide, mean_states
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, MASK = "prompt_embeds", "prompt_attention_mask"
SLOTS = (Slot(TOKENS, "tokens", MASK), Slot(MASK, "mask"))
OPTIONS = (Option("max_tokens", 300, "tokens that T5 reads", least=1, text=True), *GUIDANCE)
TEXT_DRAWS = False
forwards = guided_forwards
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("transformer", "vae", "scheduler")


def read_defaults(model: str) -> Defaults:
    side = read_number(model, "transformer", "sample_size") * autoencoder_scale(model, "vae")
    return own_defaults(model, "diffusion", Defaults("dpmsolver++", 20, 4.5, side, side))


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE)


def check(recipe: Recipe) -> None:
    patch = read_number(recipe.model, "transformer", "patch_size")
    check_sides(recipe, autoencoder_scale(recipe.model, "vae") * patch)
    check_guidance(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer")
    return PromptCheck(tokenizer, recipe.option("max_tokens"), str.lower)


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    return NoiseSchedule("diffusion", read_scheduler(recipe.model))


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(PixArtSigmaPipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(PixArtSigmaPipeline, recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    transformer, scale = networks.transformer, networks.vae_scale_factor
    schedule, channels = load_schedule(recipe), transformer.config.in_channels

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        prediction: torch.Tensor = transformer(
            latents.to(transformer.dtype),
            encoder_hidden_states=conditioning[TOKENS].to(transformer.dtype),
            encoder_attention_mask=conditioning[MASK].long(),
            timestep=timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample
        return prediction[:, :channels].float()  # the rest is a variance that no solver here uses

    return PictureSide(
        networks,
        recipe,
        schedule,
        (channels, recipe.height // scale, recipe.width // scale),
        SLOTS,
        transformer.device,
        network,
        partial(decode_latents, networks.vae),
        make_guidance(recipe, schedule),
        on_device(negative, transformer.device),
    )


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    tokens, mask, _, _ = pipeline.encode_prompt(
        texts,
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=recipe.option("max_tokens"),
    )
    return mean_states(tokens, mask), {TOKENS: tokens, MASK: mask.bool()}
