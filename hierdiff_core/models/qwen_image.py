"""Qwen-Image: the masked tokens of a language model steer a flow transformer over packed latents.

Trees are built on the prompt's last token, which has seen every word. Guidance keeps the norm of
each token's plain prediction; without a negative prompt it steers away from a blank, as its makers
do. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import QwenImagePipeline
from torch.nn.functional import pad
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import check_sides
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
from hierdiff_core.models.text_side import BATCH, TextSide, last_states
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, MASK = "prompt_embeds", "prompt_embeds_mask"
SLOTS = (Slot(TOKENS, "tokens", MASK), Slot(MASK, "mask"))
OPTIONS = (
    Option("max_tokens", 512, "tokens that a prompt may have", least=1, text=True),
    *INTERVAL,
    *LORA,
)
TEXT_DRAWS = False
forwards = guided_forwards
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("transformer", "vae", "scheduler")
BLANK = " "
_SIDE = 128  # latents of the side that its pipeline asks for by itself
_LONGEST = 1024


def read_defaults(model: str) -> Defaults:
    side = _SIDE * _scale(model)
    return own_defaults(model, "flow", Defaults("flow_euler", 50, 4.0, side, side))


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE, adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, 2 * _scale(recipe.model))
    check_guidance(recipe)
    if recipe.option("max_tokens") > _LONGEST:
        hint = f"use 1 to {_LONGEST}"
        raise InvalidSetting(setting="max_tokens", value=recipe.option("max_tokens"), hint=hint)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer")
    return PromptCheck(tokenizer, recipe.option("max_tokens") - _tail(tokenizer))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    rows, columns = _grid(recipe)
    return flow_by_tokens(recipe.model, rows * columns)


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(QwenImagePipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline), partial(_encode_negative, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(QwenImagePipeline, recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    transformer, vae, schedule = networks.transformer, networks.vae, load_schedule(recipe)
    (rows, columns), device, dtype = _grid(recipe), transformer.device, transformer.dtype

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        prediction: torch.Tensor = transformer(
            hidden_states=latents.to(dtype),
            timestep=timesteps.to(dtype) / 1000,  # rounded first, as by the pipeline
            encoder_hidden_states_mask=conditioning[MASK].long(),
            encoder_hidden_states=conditioning[TOKENS].to(dtype),
            img_shapes=[[(1, rows, columns)]] * len(latents),
        ).sample
        return prediction.float()

    def decode(latents: torch.Tensor) -> torch.Tensor:
        frames = unpack_latents(latents, rows, columns).unsqueeze(2)
        scaled = frames.to(vae.device, vae.dtype)
        of_channel = (1, -1, 1, 1, 1)
        spread = scaled.new_tensor(vae.config.latents_std).view(of_channel)
        mean = scaled.new_tensor(vae.config.latents_mean).view(of_channel)
        decoded: torch.Tensor = vae.decode(scaled * spread + mean).sample
        return decoded[:, :, 0]

    return PictureSide(
        networks,
        recipe,
        schedule,
        (rows * columns, transformer.config.in_channels),
        SLOTS,
        device,
        network,
        decode,
        make_guidance(recipe, schedule, finish=_keep_norms),
        on_device(negative, device),
    )


def _keep_norms(guided: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """Return the guided prediction (B, L, C) with each token's norm that of the plain one."""
    return guided * (plain.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))


def _scale(model: str) -> int:
    return int(2 ** len(read_config(model, "vae")["temperal_downsample"]))


def _grid(recipe: Recipe) -> tuple[int, int]:
    return grid_of(recipe.height, recipe.width, 2 * _scale(recipe.model))


def _tail(tokenizer: Any) -> int:
    """Return the tokens of the chat behind a prompt, which count as its own."""
    return len(tokenizer("<|im_end|>\n<|im_start|>assistant\n").input_ids)


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    length = recipe.option("max_tokens")
    tokens, mask = pipeline._get_qwen_prompt_embeds(texts, pipeline.text_encoder.device)
    spare = max(0, length - tokens.shape[1])
    tokens, mask = pad(tokens, (0, 0, 0, spare))[:, :length], pad(mask, (0, spare))[:, :length]
    return last_states(tokens, mask), {TOKENS: tokens, MASK: mask.bool()}


def _encode_negative(pipeline: Any, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    _, made = _encode(pipeline, [recipe.negative_prompt or BLANK] * BATCH, recipe)
    return {name: each[:1] for name, each in made.items()}
