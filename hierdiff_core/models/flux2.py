"""FLUX.2 dev and klein: three layers of a language model, side by side, steer a flow transformer.

Dev reads prompts with Mistral and is told its guidance as a number; klein reads them with Qwen and
is guided by a second pass, away from an empty prompt, unless it is distilled to do without. Neither
takes a negative prompt. Trees are built on the prompt's last token, which has seen every word. The
module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import Flux2KleinPipeline, Flux2Pipeline
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu, format_input
from transformers import AutoTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import autoencoder_scale, check_sides
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, read_class_name, read_index
from hierdiff_core.models.guidance import (
    INTERVAL,
    Guidance,
    check_guidance,
    guided_forwards,
    make_guidance,
)
from hierdiff_core.models.lora import LORA, adapter_of
from hierdiff_core.models.packing import grid_of, unpatch_latents
from hierdiff_core.models.picture_side import (
    PictureSide,
    load_picture_side,
    load_text_side,
    on_device,
)
from hierdiff_core.models.schedules import even_sigmas, own_defaults, read_scheduler
from hierdiff_core.models.text import PromptCheck
from hierdiff_core.models.text_side import TextSide, last_states
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

TOKENS = "prompt_embeds"
SLOTS = (Slot(TOKENS, "tokens"),)  # padding is part of the input
OPTIONS = (
    Option(
        "max_tokens", 512, "tokens that are read, chat and padding included", least=1, text=True
    ),
    *INTERVAL,
    *LORA,
)
TEXT_DRAWS = False
TEXT, PICTURE = ("tokenizer", "text_encoder"), ("transformer", "vae", "scheduler")
_SIDE = 128  # latents of the side that it was trained on
_LAYERS = {"dev": (10, 20, 30), "klein": (9, 18, 27)}


def read_defaults(model: str) -> Defaults:
    side = _SIDE * autoencoder_scale(model, "vae")
    steps, guidance = (4, 1.0) if _is_distilled(model) else (50, 4.0)
    return own_defaults(model, "flow", Defaults("flow_euler", steps, guidance, side, side))


def forwards(recipe: Recipe) -> tuple[int, ...]:
    return (1,) * recipe.evaluations if _is_dev(recipe.model) else guided_forwards(recipe)


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, TEXT)


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, PICTURE, adapter_of(recipe))


def check(recipe: Recipe) -> None:
    check_sides(recipe, 2 * autoencoder_scale(recipe.model, "vae"))
    check_guidance(recipe)
    if recipe.negative_prompt:
        hint = "use none: FLUX.2 takes no negative prompt"
        raise InvalidSetting(setting="negative_prompt", value=recipe.negative_prompt, hint=hint)
    if recipe.guidance > 1 and _is_distilled(recipe.model):
        hint = "use 0 to 1: the model was distilled to do without"
        raise InvalidSetting(setting="guidance", value=recipe.guidance, hint=hint)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer")
    wrap = partial(_chat, tokenizer, recipe.model)
    return PromptCheck(tokenizer, recipe.option("max_tokens"), wrap, not _is_dev(recipe.model))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    rows, columns = _grid(recipe)
    mu = partial(compute_empirical_mu, rows * columns)
    return NoiseSchedule("flow", read_scheduler(recipe.model), even_sigmas, mu, euler_only=True)


def load_encoder(recipe: Recipe, device: str) -> TextSide:
    # Dev's folder of a tokenizer belongs to a processor that wants torchvision, for pictures.
    pipeline = load_text_side(_kind(recipe.model), recipe, ("text_encoder",), device)
    tokenizer = load_part(AutoTokenizer, recipe.model, "tokenizer")
    return TextSide(pipeline, partial(_encode, pipeline.text_encoder, tokenizer))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    return load_picture_side(_kind(recipe.model), recipe, PICTURE, device, compiled=compiled)


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PictureSide:
    transformer, vae, schedule = networks.transformer, networks.vae, load_schedule(recipe)
    (rows, columns), device, dev = _grid(recipe), transformer.device, _is_dev(recipe.model)
    places = _ids(range(rows), range(columns), range(1), device)
    words = _ids(range(1), range(1), range(recipe.option("max_tokens")), device)

    def network(
        latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        count, dtype = len(latents), transformer.dtype
        told = torch.full((count,), recipe.guidance, device=device)
        prediction = transformer(
            hidden_states=latents.flatten(2).transpose(1, 2).to(dtype),
            timestep=timesteps.to(dtype) / 1000,  # rounded first, as by the pipeline
            guidance=told if dev else None,
            encoder_hidden_states=conditioning[TOKENS].to(dtype),
            txt_ids=words.expand(count, -1, -1),
            img_ids=places.expand(count, -1, -1),
        ).sample
        return prediction.transpose(1, 2).reshape(latents.shape).float()

    def decode(latents: torch.Tensor) -> torch.Tensor:
        of_channel, norm = (1, -1, 1, 1), vae.bn
        spread = torch.sqrt(norm.running_var.view(of_channel) + vae.config.batch_norm_eps)
        scaled = latents.to(vae.device) * spread.float()
        scaled = scaled + norm.running_mean.view(of_channel).float()
        decoded: torch.Tensor = vae.decode(unpatch_latents(scaled).to(vae.dtype)).sample
        return decoded

    return PictureSide(
        networks,
        recipe,
        schedule,
        (transformer.config.in_channels, rows, columns),
        SLOTS,
        device,
        network,
        decode,
        Guidance(1.0) if dev else make_guidance(recipe, schedule),
        on_device(negative, device),
    )


def _ids(rows: range, columns: range, words: range, device: torch.device) -> torch.Tensor:
    """Return the places (1, L, 4) of tokens: time, row, column, word."""
    axes = [torch.arange(len(each), device=device) for each in (range(1), rows, columns, words)]
    return torch.cartesian_prod(*axes)[None]


def _grid(recipe: Recipe) -> tuple[int, int]:
    return grid_of(recipe.height, recipe.width, 2 * autoencoder_scale(recipe.model, "vae"))


def _is_dev(model: str) -> bool:
    return read_class_name(model) == Flux2Pipeline.__name__


def _is_distilled(model: str) -> bool:
    return bool(read_index(model).get("is_distilled"))


def _kind(model: str) -> Any:
    return Flux2Pipeline if _is_dev(model) else Flux2KleinPipeline


def _chat(tokenizer: Any, model: str, text: str) -> str:
    """Return a prompt as the language model reads it."""
    if _is_dev(model):
        (messages,) = format_input([text], _system_message())
        options = {"add_generation_prompt": False}
    else:
        messages = [{"role": "user", "content": text}]
        options = {"add_generation_prompt": True, "enable_thinking": False}
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def _system_message() -> str:
    from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE

    return str(SYSTEM_MESSAGE)


def _encode(
    encoder: Any, tokenizer: Any, texts: list[str], recipe: Recipe
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    dev, length = _is_dev(recipe.model), recipe.option("max_tokens")
    read = tokenizer(
        [_chat(tokenizer, recipe.model, text) for text in texts],
        padding="max_length",
        truncation=True,
        max_length=length,
        return_tensors="pt",
        add_special_tokens=not dev,  # dev's chat holds them
    ).to(encoder.device)
    states = encoder(
        input_ids=read.input_ids,
        attention_mask=read.attention_mask,
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states
    chosen = [states[layer] for layer in _LAYERS["dev" if dev else "klein"]]
    return last_states(chosen[-1], read.attention_mask), {TOKENS: torch.cat(chosen, dim=-1)}
