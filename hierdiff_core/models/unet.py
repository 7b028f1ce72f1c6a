"""U-Nets of latent diffusion that Stable Diffusion's families share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.autoencoder import decode_latents
from hierdiff_core.models.folder import read_config
from hierdiff_core.models.guidance import Guidance, Network, guided_forwards, make_guidance
from hierdiff_core.models.picture_side import PictureSide, on_device
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.recipe import Recipe


def unet_forwards(recipe: Recipe) -> tuple[int, ...]:
    """Return the forward passes at each step (K,): 1 where guidance is told to the network."""
    return (1,) * recipe.evaluations if embeds_guidance(recipe.model) else guided_forwards(recipe)


def unet_guidance(recipe: Recipe, schedule: NoiseSchedule) -> Guidance:
    """Return a recipe's guidance: none beside what is told to the network itself."""
    if embeds_guidance(recipe.model):
        return Guidance(1.0)
    return make_guidance(recipe, schedule)


def fit_unet(
    networks: Any,
    recipe: Recipe,
    schedule: NoiseSchedule,
    slots: tuple[Slot, ...],
    network: Network,
    negative: Conditioning,
) -> PictureSide:
    """Return the picture side of a pipeline with a U-Net and an autoencoder."""
    unet, scale = networks.unet, networks.vae_scale_factor
    return PictureSide(
        networks,
        recipe,
        schedule,
        (unet.config.in_channels, recipe.height // scale, recipe.width // scale),
        slots,
        unet.device,
        network,
        partial(decode_latents, networks.vae),
        unet_guidance(recipe, schedule),
        on_device(negative, unet.device),
    )


def evaluate_unet(
    pipeline: Any,
    recipe: Recipe,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    tokens: torch.Tensor,
    **more: Any,
) -> torch.Tensor:
    """Return the prediction (B, C, h, w) of a pipeline's U-Net for tokens (B, L, D)."""
    unet = pipeline.unet
    wide = unet.config.time_cond_proj_dim
    if wide is not None:
        scale = torch.full((len(latents),), recipe.guidance - 1, device=latents.device)
        more["timestep_cond"] = pipeline.get_guidance_scale_embedding(scale, wide).to(unet.dtype)
    rows = latents.to(unet.dtype), timesteps, tokens.to(unet.dtype)
    prediction: torch.Tensor = unet(*rows, **more).sample
    return prediction.float()


@cache
def embeds_guidance(model: str) -> bool:
    """Tell whether a U-Net takes the guidance as an input, as those distilled for LCM do."""
    return read_config(model, "unet").get("time_cond_proj_dim") is not None


def cast(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return tensors in a network's precision; masks stay as they are."""
    return {
        name: each.to(dtype) if each.is_floating_point() else each for name, each in tensors.items()
    }
