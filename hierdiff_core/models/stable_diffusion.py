"""Stable Diffusion 1 and 2: CLIP's tokens steer a U-Net in the space of an autoencoder.

Trees are built on the end token's last hidden state, which depends on every word. The safety
checker, which blacks pictures out, is not loaded. The module is a `Family`, its classes are an
`Encoder` and a `Denoiser`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from hierdiff_core.embedding import Conditioning, Embedding, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import autoencoder_scale, made_size, to_pixels
from hierdiff_core.models.device import choose_dtype, prepare_network, put_on
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, load_pipeline, read_config
from hierdiff_core.models.guidance import guide, guided_forwards
from hierdiff_core.models.text import PromptCheck, equal_calls
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import NoiseSchedule

TOKENS = "prompt_embeds"
SLOTS = (Slot(TOKENS, "tokens"),)  # padding is part of the input, so no mask
OPTIONS: tuple[Option, ...] = ()
TEXT_DRAWS = False
forwards = guided_forwards
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("unet", "vae", "scheduler")
# Prompts are encoded in calls of this one size, so that an embedding does not depend on company.
_BATCH = 8


def read_defaults(model: str) -> Defaults:
    return Defaults("ddim", 50, 7.5, *made_size(model, "vae"))


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE)


def check(recipe: Recipe) -> None:
    scale = autoencoder_scale(recipe.model, "vae")
    for name in ("height", "width"):
        if getattr(recipe, name) % scale:
            hint = f"use a multiple of {scale}"
            raise InvalidSetting(setting=name, value=getattr(recipe, name), hint=hint)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    return PromptCheck(load_part(CLIPTokenizer, recipe.model, "tokenizer"))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    """Return the schedule as the pipeline corrects it, whatever scheduler the folder names."""
    config = read_config(recipe.model, "scheduler", "scheduler_config.json")
    return NoiseSchedule("diffusion", config | {"steps_offset": 1, "clip_sample": False})


def load_encoder(recipe: Recipe, device: str) -> TextEncoder:
    dtype = choose_dtype(recipe, device)
    pipeline = load_pipeline(StableDiffusionPipeline, recipe.model, TEXT, dtype)
    return TextEncoder(put_on(pipeline, device))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    dtype = choose_dtype(recipe, device)
    pipeline = load_pipeline(StableDiffusionPipeline, recipe.model, PICTURE, dtype)
    pipeline = put_on(pipeline, device)
    prepare_network(pipeline.unet, pipeline.vae, compiled=compiled)
    return pipeline


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> UNetDenoiser:
    unet, scale = networks.unet, networks.vae_scale_factor
    shape = (unet.config.in_channels, recipe.height // scale, recipe.width // scale)
    steered_from = negative.tensors[TOKENS].to(unet.device)
    return UNetDenoiser(networks, load_schedule(recipe), recipe, steered_from, shape)


@dataclass(frozen=True)
class TextEncoder:
    """A loaded CLIP text encoder and its tokenizer."""

    pipeline: Any  # StableDiffusionPipeline
    embed_pictures: None = None  # no picture is embedded where prompts are

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        return self._encode([prompt.text for prompt in prompts])

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        return self._encode([recipe.negative_prompt])[0].conditioning

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> list[Embedding]:
        tokenizer, encoder = self.pipeline.tokenizer, self.pipeline.text_encoder
        rows: list[Embedding] = []
        for call, count in equal_calls(texts, _BATCH):
            read = tokenizer(call, padding="max_length", truncation=True, return_tensors="pt")
            read = read.to(encoder.device)
            masked = getattr(encoder.config, "use_attention_mask", False)
            states = encoder(read.input_ids, attention_mask=read.attention_mask if masked else None)
            tokens = states.last_hidden_state.float().cpu()
            # Padding repeats the end token in some models: the first is the prompt's.
            ends = (read.input_ids == tokenizer.eos_token_id).int().argmax(dim=1).cpu()
            rows += [
                Embedding(row[end].numpy().copy(), Conditioning({TOKENS: row[None]}))
                for row, end in zip(tokens[:count], ends[:count], strict=True)
            ]
        return rows


@dataclass(frozen=True)
class UNetDenoiser:
    """The U-Net for one recipe."""

    pipeline: Any  # StableDiffusionPipeline
    noise_schedule: NoiseSchedule
    recipe: Recipe
    negative: torch.Tensor  # (1, L, D)
    latent_shape: tuple[int, ...]
    slots: tuple[Slot, ...] = SLOTS

    @property
    def device(self) -> torch.device:
        device: torch.device = self.pipeline.unet.device
        return device

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        negative, guidance = {TOKENS: self.negative}, self.recipe.guidance
        return guide(self._unet, guidance, latents, timesteps, conditioning, negative)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> npt.NDArray[np.uint8]:
        vae = self.pipeline.vae
        scaled = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor
        return to_pixels(vae.decode(scaled).sample, self.recipe.height, self.recipe.width)

    def _unet(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        unet = self.pipeline.unet
        tokens = conditioning[TOKENS].to(unet.dtype)
        prediction: torch.Tensor = unet(latents.to(unet.dtype), timesteps, tokens).sample
        return prediction.float()
