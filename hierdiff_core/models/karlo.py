"""Karlo: unCLIP over 64 x 64 pixels, which a second sampler enlarges while it decodes.

Trees are built on the picture's embedding that the prior predicts. A cluster's mean is one of what
the prior and CLIP give, since what the network reads is a projection of it, with a norm. The noise
that enlarging draws is a function of a picture's name. The module is a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import (
    PriorTransformer,
    UnCLIPPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.utils.torch_utils import randn_tensor
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.autoencoder import to_pixels
from hierdiff_core.models.device import choose_dtype, choose_text_dtype, prepare_network, put_on
from hierdiff_core.models.families import Option
from hierdiff_core.models.family import Defaults, Parts
from hierdiff_core.models.folder import load_part, load_parts, read_config, read_number
from hierdiff_core.models.guidance import (
    GUIDANCE,
    Guidance,
    check_guidance,
    guide,
    guided_forwards,
    make_guidance,
)
from hierdiff_core.models.picture_side import on_device, refuse_caches
from hierdiff_core.models.text import PromptCheck
from hierdiff_core.models.unclip_prior import PRIOR, PriorSide, TextPrior
from hierdiff_core.noise import generator
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

PICTURE_EMBEDDING, POOLED, STATES, MASK = "image_embeds", "text_embeds", "text_states", "text_mask"
SLOTS = (
    Slot(PICTURE_EMBEDDING, "vector"),
    Slot(POOLED, "vector"),
    Slot(STATES, "tokens", MASK),
    Slot(MASK, "mask"),
)
OPTIONS = (
    *PRIOR,
    # Its scheduler divides by one less than its steps.
    Option(
        "super_res_steps", 7, "steps of the sampler that enlarges pictures", least=2, finish=True
    ),
    *GUIDANCE,
)
TEXT_DRAWS = True  # the prior samples
forwards = guided_forwards
# The class of each part: diffusers' own loading does not find all of them.
TEXT: Mapping[str, Any] = {
    "tokenizer": CLIPTokenizer,
    "text_encoder": CLIPTextModelWithProjection,
    "prior": PriorTransformer,
    "prior_scheduler": UnCLIPScheduler,
}
PICTURE: Mapping[str, Any] = {
    "decoder": UNet2DConditionModel,
    "text_proj": UnCLIPTextProjModel,
    "super_res_first": UNet2DModel,
    "super_res_last": UNet2DModel,
    "decoder_scheduler": UnCLIPScheduler,
    "super_res_scheduler": UnCLIPScheduler,
}
_STATED = (
    "num_train_timesteps",
    "variance_type",
    "clip_sample",
    "clip_sample_range",
    "prediction_type",
)


def read_defaults(model: str) -> Defaults:
    side = read_number(model, "super_res_first", "sample_size")
    return Defaults("ddpm", 25, 8.0, side, side)


def text_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, tuple(TEXT))


def picture_parts(recipe: Recipe) -> Parts:
    return Parts(recipe.model, tuple(PICTURE))


def check(recipe: Recipe) -> None:
    side = read_number(recipe.model, "super_res_first", "sample_size")
    for name in ("height", "width"):
        if getattr(recipe, name) != side:
            hint = f"use {side}, the one size that the model makes"
            raise InvalidSetting(setting=name, value=getattr(recipe, name), hint=hint)
    if recipe.negative_prompt:
        hint = "use none: the model's guidance is away from no words"
        raise InvalidSetting(setting="negative_prompt", value=recipe.negative_prompt, hint=hint)
    check_guidance(recipe)


def load_check(recipe: Recipe) -> Callable[[Prompt], None]:
    return PromptCheck(load_part(CLIPTokenizer, recipe.model, "tokenizer"))


def load_schedule(recipe: Recipe) -> NoiseSchedule:
    """Return the schedule of UnCLIP's scheduler as DDPM's states it, which takes equal steps."""
    read = read_config(recipe.model, "decoder_scheduler", "scheduler_config.json")
    own = UnCLIPScheduler.from_config(read).config
    config = {name: own[name] for name in _STATED}
    config |= {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "linspace"}
    return NoiseSchedule("diffusion", {"_class_name": "DDPMScheduler", **config})


def load_encoder(recipe: Recipe, device: str) -> PriorSide:
    dtype = choose_text_dtype(recipe, device)
    loaded = put_on(load_parts(UnCLIPPipeline, recipe.model, TEXT, dtype), device)
    prior = TextPrior(
        loaded.tokenizer, loaded.text_encoder, loaded.prior, loaded.prior_scheduler, names_next=True
    )
    return PriorSide(loaded, partial(_encode, prior), partial(_encode_nothing, prior))


def load_networks(recipe: Recipe, device: str, *, compiled: bool = False) -> Any:
    dtype = choose_dtype(recipe, device)
    loaded = put_on(load_parts(UnCLIPPipeline, recipe.model, PICTURE, dtype), device)
    prepare_network(loaded.decoder, loaded.super_res_first, compiled=compiled)
    prepare_network(loaded.super_res_first, loaded.super_res_last, compiled=False)
    return loaded


def fit(networks: Any, recipe: Recipe, negative: Conditioning) -> PixelDecoder:
    refuse_caches(networks)
    device, config = networks.decoder.device, networks.decoder.config
    learned = networks.text_proj.learned_classifier_free_guidance_embeddings.detach()
    away = on_device(negative, device) | {PICTURE_EMBEDDING: learned[None].float()}
    schedule = load_schedule(recipe)
    shape = (config.in_channels, config.sample_size, config.sample_size)
    return PixelDecoder(
        networks, recipe, schedule, shape, device, make_guidance(recipe, schedule), away
    )


@dataclass(frozen=True)
class PixelDecoder:
    """The picture side for one recipe, a Denoiser."""

    pipeline: Any  # UnCLIPPipeline
    recipe: Recipe
    noise_schedule: NoiseSchedule
    latent_shape: tuple[int, ...]
    device: torch.device
    guidance: Guidance
    negative: Mapping[str, torch.Tensor]  # one row
    slots: tuple[Slot, ...] = SLOTS

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        return guide(self._unet, self.guidance, latents, timesteps, conditioning, self.negative)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        draws = [generator(f"{self.recipe.seed}/{name}/enlarging") for name in names]
        enlarged = enlarge(self.pipeline, latents, draws, self.recipe.option("super_res_steps"))
        return to_pixels(enlarged, self.recipe.height, self.recipe.width)

    def _unet(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        unet, projection = self.pipeline.decoder, self.pipeline.text_proj
        embedding, pooled, states = (
            conditioning[name].to(unet.dtype) for name in (PICTURE_EMBEDDING, POOLED, STATES)
        )
        tokens, labels = projection(
            image_embeddings=embedding,
            prompt_embeds=pooled,
            text_encoder_hidden_states=states,
            do_classifier_free_guidance=False,  # `guide` hands over both halves
        )
        more = projection.config.clip_extra_context_tokens  # before the words, never masked
        prediction: torch.Tensor = unet(
            latents.to(unet.dtype),
            timesteps,
            encoder_hidden_states=tokens,
            class_labels=labels,
            attention_mask=functional.pad(conditioning[MASK], (more, 0), value=True),
        ).sample
        return prediction.float()


def enlarge(
    networks: Any, latents: torch.Tensor, draws: list[torch.Generator], steps: int
) -> torch.Tensor:
    """Return large pictures (B, 3, S, S), from -1 to 1, by a sampler that small ones steer."""
    first, last, scheduler = (
        networks.super_res_first,
        networks.super_res_last,
        networks.super_res_scheduler,
    )
    side, small = first.config.sample_size, latents.to(first.device, first.dtype).clamp(-1, 1)
    smooth = functional.interpolate(  # which a CPU does in float32 alone
        small.float(), size=[side, side], mode="bicubic", align_corners=False, antialias=True
    ).to(first.dtype)
    scheduler.set_timesteps(steps, device=first.device)
    timesteps = scheduler.timesteps
    large = randn_tensor(smooth.shape, generator=draws, device=first.device, dtype=first.dtype)
    for timestep, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        network = last if following is None else first
        predicted = network(torch.cat([large, smooth], dim=1), timestep).sample
        stepped = scheduler.step(
            predicted, timestep, large, prev_timestep=following, generator=draws
        )
        large = stepped.prev_sample
    return large


def _encode(
    prior: TextPrior, prompts: Sequence[Prompt], draws: Sequence[torch.Generator]
) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    words = prior.read([prompt.text for prompt in prompts])
    embeddings = prior.sample(words, draws, prompts[0].recipe)
    tensors = {PICTURE_EMBEDDING: embeddings, POOLED: words.pooled}
    return embeddings, tensors | {STATES: words.states, MASK: words.mask}


def _encode_nothing(prior: TextPrior, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    """Return what no words give; the embedding beside them is one of the picture side's weights."""
    words = prior.read([""])
    nothing = torch.zeros(1, prior.network.config.embedding_dim)
    return {
        PICTURE_EMBEDDING: nothing,
        POOLED: words.pooled,
        STATES: words.states,
        MASK: words.mask,
    }
