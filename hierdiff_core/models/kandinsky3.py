"""Kandinsky 3: T5's masked tokens steer a U-Net.

The pipeline pools the tokens of a call over its longest prompt, so that a picture depends on the
prompts beside it. Here each prompt is pooled over its own length, as the pipeline does it for one
prompt alone. T5 has no token that has seen all others, so trees are built on the mean of a prompt's
tokens. Guidance is (g + 1) c - g u. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import Kandinsky3Pipeline
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import check_sides
from hierdiff_core.models.device import choose_dtype, prepare_network, put_on
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, load_pipeline
from hierdiff_core.models.guidance import (
    GUIDANCE,
    check_guidance,
    guided_forwards,
    make_guidance,
)
from hierdiff_core.models.picture_side import PictureSide, load_text_side, on_device
from hierdiff_core.models.schedules import own_defaults, read_scheduler
from hierdiff_core.models.text import PromptCheck
from hierdiff_core.models.text_side import BATCH, TextSide, mean_states
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, MASK = "prompt_embeds", "attention_mask"
SLOTS = (Slot(TOKENS, "tokens", MASK), Slot(MASK, "mask"))
OPTIONS = GUIDANCE
TEXT_DRAWS = False
forwards = guided_forwards
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("unet", "movq", "scheduler")
_SIDE, _MULTIPLE, _SCALE = 1024, 64, 8  # pixels: of its pipeline, of a size, of a latent
_LENGTH = 128  # tokens that T5 reads


def read_defaults(model: str) -> Defaults:
    return own_defaults(model, "diffusion", Defaults("ddpm", 25, 3.0, _SIDE, _SIDE))


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE)


def check(recipe: Recipe) -> None:
    check_sides(recipe, _MULTIPLE)
    check_guidance(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    return PromptCheck(load_part(AutoTokenizer, recipe.model, "tokenizer"), _LENGTH)


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    return NoiseSchedule("diffusion", read_scheduler(recipe.model))


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(Kandinsky3Pipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline), partial(_encode_negative, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    dtype = choose_dtype(recipe, device)
    pipeline = put_on(load_pipeline(Kandinsky3Pipeline, recipe.model, PICTURE, dtype), device)
    unet = pipeline.unet
    unet.add_time_condition = OwnLengthPooling(unet.add_time_condition.attention)
    prepare_network(unet, pipeline.movq, compiled=compiled)
    return pipeline


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    unet, movq, schedule = networks.unet, networks.movq, load_schedule(recipe)

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        prediction: torch.Tensor = unet(
            latents.to(unet.dtype),
            timesteps,
            encoder_hidden_states=conditioning[TOKENS].to(unet.dtype),
            encoder_attention_mask=conditioning[MASK],
        ).sample
        return prediction.float()

    def decode(latents: torch.Tensor) -> torch.Tensor:
        # Needs no scaling factor.
        decoded = movq.decode(latents.to(movq.device, movq.dtype), force_not_quantize=True)
        return decoded["sample"]

    return PictureSide(
        networks,
        recipe,
        schedule,
        (4, recipe.height // _SCALE, recipe.width // _SCALE),
        SLOTS,
        unet.device,
        network,
        decode,
        make_guidance(recipe, schedule, more=1.0),
        on_device(negative, unet.device),
    )


class OwnLengthPooling(torch.nn.Module):
    """The network's pooling of tokens, over each prompt's own length and the token after it.

    The stock module takes the mean over all places of a call, which is the same where a prompt is
    alone.
    """

    def __init__(self, attention: torch.nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self, x: torch.Tensor, context: torch.Tensor, context_mask: torch.Tensor
    ) -> torch.Tensor:
        """Return time embeddings (B, D) with the pooled tokens (B, L, D) added.

        The mask (B, 1, L) is 0 where there is a token, and far below elsewhere.
        """
        length = (context_mask == 0).sum(dim=-1) + 1  # (B, 1)
        counted = torch.arange(context.shape[1], device=context.device) < length
        counted = counted.unsqueeze(-1).to(context.dtype)
        mean = (context * counted).sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True)
        pooled = self.attention(mean, context, context_mask.to(context.dtype))
        return x + pooled.squeeze(1)


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    tokens, _, mask, _ = pipeline.encode_prompt(
        texts, do_classifier_free_guidance=False, device=pipeline.text_encoder.device
    )
    return mean_states(tokens, mask), {TOKENS: tokens, MASK: mask.bool()}


def _encode_negative(pipeline: Any, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    """Return the conditioning of the negative prompt: without one zeros, all of them masked."""
    _, made = _encode(pipeline, [recipe.negative_prompt] * BATCH, recipe)
    first = {name: each[:1] for name, each in made.items()}
    return first if recipe.negative_prompt else {n: torch.zeros_like(e) for n, e in first.items()}
