"""Stable unCLIP: CLIP's tokens and a picture's embedding, which a prior draws, steer a U-Net.

Trees are built on the embedding. The network reads it with noise, and the level of that noise
beside it; the noise is one for all prompts of a seed, so that a cluster's mean is at the level that
it states. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from diffusers import StableUnCLIPPipeline
from transformers import CLIPTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import (
    autoencoder_scale,
    check_sides,
    made_size,
)
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, read_config
from hierdiff_core.models.guidance import GUIDANCE, check_guidance
from hierdiff_core.models.picture_side import (
    PictureSide,
    load_picture_side,
    load_text_side,
)
from hierdiff_core.models.schedules import own_defaults, read_scheduler
from hierdiff_core.models.text import PromptCheck, check_all
from hierdiff_core.models.text_side import BATCH
from hierdiff_core.models.unclip_prior import PRIOR, PriorSide, TextPrior
from hierdiff_core.models.unet import evaluate_unet, fit_unet, unet_forwards
from hierdiff_core.noise import generator
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, LABELS = "prompt_embeds", "class_labels"
SLOTS = (Slot(TOKENS, "tokens"), Slot(LABELS, "vector"))  # padding is part of the input
LEVEL = "noise_level"
OPTIONS = (
    *PRIOR,
    Option(LEVEL, 0, "timestep of the noise on a picture's embedding", least=0, text=True),
    *GUIDANCE,
)
TEXT_DRAWS = True  # the prior samples
forwards = unet_forwards
TEXT = (
    "tokenizer",
    "text_encoder",
    "prior_tokenizer",
    "prior_text_encoder",
    "prior",
    "prior_scheduler",
    "image_normalizer",
    "image_noising_scheduler",
)
PICTURE = ("unet", "vae", "scheduler")


def read_defaults(model: str) -> Defaults:
    usual = Defaults("ddim", 20, 10.0, *made_size(model, "vae"))
    return own_defaults(model, "diffusion", usual)


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE)


def check(recipe: Recipe) -> None:
    check_sides(recipe, autoencoder_scale(recipe.model, "vae"))
    check_guidance(recipe)
    noising = read_config(recipe.model, "image_noising_scheduler", "scheduler_config.json")
    highest = noising.get("num_train_timesteps", 1000) - 1
    if recipe.option(LEVEL) > highest:
        hint = f"use 0 to {highest}"
        raise InvalidSetting(setting=LEVEL, value=recipe.option(LEVEL), hint=hint)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    tokenizers = ("tokenizer", "prior_tokenizer")
    return check_all(
        [PromptCheck(load_part(CLIPTokenizer, recipe.model, part)) for part in tokenizers]
    )


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    return NoiseSchedule("diffusion", read_scheduler(recipe.model))


def load_encoder(recipe: Recipe, device: str) -> PriorSide:
    loaded = load_text_side(StableUnCLIPPipeline, recipe, TEXT, device)
    prior = TextPrior(
        loaded.prior_tokenizer,
        loaded.prior_text_encoder,
        loaded.prior,
        loaded.prior_scheduler,
        names_next=False,
    )
    return PriorSide(loaded, partial(_encode, loaded, prior), partial(_encode_negative, loaded))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(StableUnCLIPPipeline, recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    unet = networks.unet

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        labels = conditioning[LABELS].to(unet.dtype)
        tokens = conditioning[TOKENS]
        return evaluate_unet(networks, recipe, latents, timesteps, tokens, class_labels=labels)

    return fit_unet(networks, recipe, load_schedule(recipe), SLOTS, network, negative)


def draw_noise(seed: int, width: int) -> torch.Tensor:
    """Return the noise (1, D) on the embeddings of a seed's prompts."""
    return torch.randn(1, width, generator=generator(f"{seed}/picture embeddings"))


def _encode(
    pipeline: Any, prior: TextPrior, prompts: Sequence[Prompt], draws: Sequence[torch.Generator]
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    recipe, texts = prompts[0].recipe, [prompt.text for prompt in prompts]
    embeddings = prior.sample(prior.read(texts), draws, recipe)
    noise = torch.cat([draw_noise(each.recipe.seed, embeddings.shape[1]) for each in prompts])
    labels = pipeline.noise_image_embeddings(
        embeddings, recipe.option(LEVEL), noise=noise.to(embeddings)
    )
    return embeddings, {TOKENS: _read(pipeline, texts), LABELS: labels}


def _encode_negative(pipeline: Any, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    """Return the negative prompt's tokens and, as the pipeline, no embedding of a picture."""
    tokens = _read(pipeline, [recipe.negative_prompt] * BATCH)[:1]
    width = 2 * pipeline.prior.config.embedding_dim
    return {TOKENS: tokens, LABELS: torch.zeros(1, width)}


def _read(pipeline: Any, texts: list[str]) -> torch.Tensor:
    """Return CLIP's tokens (B, L, D)."""
    device = pipeline.text_encoder.device
    tokens: torch.Tensor = pipeline.encode_prompt(texts, device, 1, False)[0]
    return tokens
