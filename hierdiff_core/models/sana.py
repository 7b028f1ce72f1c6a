"""Sana: the masked tokens of a language model steer a flow transformer with few, deep latents.

The model is told to enhance a prompt by an instruction before it, as in the pipeline. Trees are
built on the prompt's last token, which has seen every word. Pictures are made at the size that is
asked for, without the pipeline's bins. The module is a `Family`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import SanaPipeline
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import check_sides
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, read_config, read_number
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
from hierdiff_core.models.schedules import own_defaults, read_scheduler
from hierdiff_core.models.text import PromptCheck, check_all
from hierdiff_core.models.text_side import BATCH, TextSide, last_states
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, MASK = "prompt_embeds", "prompt_attention_mask"
SLOTS = (Slot(TOKENS, "tokens", MASK), Slot(MASK, "mask"))
OPTIONS = (
    Option("max_tokens", 300, "tokens that a prompt may have", least=3, text=True),
    *GUIDANCE,
    *LORA,
)
TEXT_DRAWS = False
forwards = guided_forwards
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("transformer", "vae", "scheduler")
INSTRUCTION = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"]


def read_defaults(model: str) -> Defaults:
    side = read_number(model, "transformer", "sample_size") * _scale(model)
    return own_defaults(model, "flow", Defaults("flow_dpmsolver++", 20, 4.5, side, side))


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE, adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, _scale(recipe.model))
    check_guidance(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    # A prompt's own first token stands before the instruction, hence two less beside it.
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer")
    before, length = "\n".join(INSTRUCTION.default), recipe.option("max_tokens")
    together = len(tokenizer.encode(before)) + length - 2
    read = partial(_instruct, before)
    return check_all(
        [PromptCheck(tokenizer, together, read), PromptCheck(tokenizer, length, str.lower)]
    )


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    return NoiseSchedule("flow", read_scheduler(recipe.model))


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(SanaPipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline), partial(_encode_negative, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(SanaPipeline, recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    transformer, vae, schedule = networks.transformer, networks.vae, load_schedule(recipe)
    scale, channels = networks.vae_scale_factor, transformer.config.in_channels

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        prediction: torch.Tensor = transformer(
            latents.to(transformer.dtype),
            encoder_hidden_states=conditioning[TOKENS].to(transformer.dtype),
            encoder_attention_mask=conditioning[MASK].long(),
            timestep=timesteps * transformer.config.timestep_scale,
        ).sample
        return prediction[:, :channels].float()

    def decode(latents: torch.Tensor) -> torch.Tensor:
        scaled = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor
        decoded: torch.Tensor = vae.decode(scaled).sample
        return decoded

    return PictureSide(
        networks,
        recipe,
        schedule,
        (channels, recipe.height // scale, recipe.width // scale),
        SLOTS,
        transformer.device,
        network,
        decode,
        make_guidance(recipe, schedule),
        on_device(negative, transformer.device),
    )


def _scale(model: str) -> int:
    return int(2 ** (len(read_config(model, "vae")["encoder_block_out_channels"]) - 1))


def _instruct(before: str, text: str) -> str:
    return before + text.lower().strip()


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    tokens, mask, _, _ = pipeline.encode_prompt(
        texts,
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=recipe.option("max_tokens"),
        complex_human_instruction=INSTRUCTION.default,
    )
    return last_states(tokens, mask), {TOKENS: tokens, MASK: mask.bool()}


def _encode_negative(pipeline: Any, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    """Return the negative prompt's conditioning, which has no instruction before it."""
    tokens, mask, _, _ = pipeline.encode_prompt(
        [recipe.negative_prompt] * BATCH,
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=recipe.option("max_tokens"),
    )
    return {TOKENS: tokens[:1], MASK: mask[:1].bool()}
