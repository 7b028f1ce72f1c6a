"""Z-Image: the tokens of a language model, as many as a prompt has, steer a flow transformer.

Trees are built on the prompt's last token, which has seen every word. Guidance is c + g (c - u), on
above 0. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import ZImagePipeline
from torch.nn.functional import pad
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import autoencoder_scale, check_sides, decode_latents
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part
from hierdiff_core.models.guidance import (
    GUIDANCE,
    check_guidance,
    forwards_above,
    make_guidance,
)
from hierdiff_core.models.lora import LORA, adapter_of
from hierdiff_core.models.packing import grid_of
from hierdiff_core.models.picture_side import (
    PictureSide,
    load_picture_side,
    load_text_side,
    on_device,
)
from hierdiff_core.models.schedules import flow_by_tokens, own_defaults
from hierdiff_core.models.text import PromptCheck
from hierdiff_core.models.text_side import TextSide, last_states
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS, MASK = "prompt_embeds", "prompt_mask"
SLOTS = (Slot(TOKENS, "tokens", MASK), Slot(MASK, "mask"))
OPTIONS = (
    Option("max_tokens", 512, "tokens that are read, chat included", least=1, text=True),
    *GUIDANCE,
    *LORA,
)
TEXT_DRAWS = False
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("transformer", "vae", "scheduler")
_SIDE = 1024  # pixels, as its pipeline asks by itself
_OFF = 0.0  # the guidance above which it is on
_MULTIPLE = 32  # of tokens, to which its network pads a prompt by itself


def read_defaults(model: str) -> Defaults:
    return own_defaults(model, "flow", Defaults("flow_euler", 50, 5.0, _SIDE, _SIDE))


def forwards(recipe: Recipe) -> tuple[int, ...]:
    return forwards_above(recipe, _OFF)


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE, adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, _pixels(recipe.model))
    check_guidance(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer")
    return PromptCheck(tokenizer, recipe.option("max_tokens"), partial(_chat, tokenizer))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    rows, columns = grid_of(recipe.height, recipe.width, _pixels(recipe.model))
    return flow_by_tokens(recipe.model, rows * columns)


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    pipeline = load_text_side(ZImagePipeline, recipe, TEXT, device)
    return TextSide(pipeline, partial(_encode, pipeline))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    pipeline = load_picture_side(ZImagePipeline, recipe, PICTURE, device, compiled=compiled)
    _fix_lengths(pipeline.transformer)
    return pipeline


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    transformer, scale = networks.transformer, networks.vae_scale_factor
    schedule, longest = load_schedule(recipe), -(-recipe.option("max_tokens") // _MULTIPLE)

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        tokens, dtype = conditioning[TOKENS].to(transformer.dtype), transformer.dtype
        words = [row[mask] for row, mask in zip(tokens, conditioning[MASK].bool(), strict=True)]
        pictures = list(latents.to(dtype).unsqueeze(2).unbind())
        transformer.longest = longest * _MULTIPLE
        made = transformer(pictures, (1000 - timesteps) / 1000, words).sample
        return -torch.stack([each.float() for each in made]).squeeze(2)

    return PictureSide(
        networks,
        recipe,
        schedule,
        (transformer.config.in_channels, recipe.height // scale, recipe.width // scale),
        SLOTS,
        transformer.device,
        network,
        partial(decode_latents, networks.vae),
        make_guidance(recipe, schedule, least=_OFF, more=1.0),
        on_device(negative, transformer.device),
    )


def _fix_lengths(transformer: Any) -> None:
    """Let a network pad its rows to a length that no row decides, so that bits are a row's own.

    It pads to the longest row of a call, and masks what it pads.
    """
    prepare, unify = transformer._prepare_sequence, transformer._build_unified_sequence

    def fixed(made: tuple[Any, ...], length: int, lengths: list[int]) -> tuple[Any, ...]:
        rows, places, _, *rest = made
        spare = (0, 0, 0, length - rows.shape[1])
        count = torch.tensor(lengths, device=rows.device)[:, None]
        mask = torch.arange(length, device=rows.device) < count
        return pad(rows, spare), pad(places, spare), mask, *rest

    def prepare_fixed(
        rows: list[torch.Tensor], places: Any, masks: Any, token: Any, *more: Any
    ) -> tuple[Any, ...]:
        made = prepare(rows, places, masks, token, *more)
        if token is not transformer.cap_pad_token:  # pictures of a call have one length
            return made
        return fixed(made, transformer.longest, made[3])

    def unify_fixed(x: torch.Tensor, *rest: Any) -> tuple[Any, ...]:
        made, (_, pictures, _, _, _, words, *_) = unify(x, *rest), rest
        lengths = [one + other for one, other in zip(pictures, words, strict=True)]
        return fixed(made, x.shape[1] + transformer.longest, lengths)

    transformer._prepare_sequence, transformer._build_unified_sequence = prepare_fixed, unify_fixed


def _pixels(model: str) -> int:
    return 2 * autoencoder_scale(model, "vae")


def _chat(tokenizer: Any, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    options = {"add_generation_prompt": True, "enable_thinking": True}
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def _encode(
    pipeline: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    encoder, length = pipeline.text_encoder, recipe.option("max_tokens")
    # The pipeline writes chats into the list that it is given.
    rows = pipeline._encode_prompt(list(texts), encoder.device, max_sequence_length=length)
    tokens = torch.stack([pad(row, (0, 0, 0, length - len(row))) for row in rows])
    counts = torch.tensor([len(row) for row in rows], device=tokens.device)[:, None]
    mask = torch.arange(length, device=tokens.device) < counts
    return last_states(tokens, mask), {TOKENS: tokens, MASK: mask}
