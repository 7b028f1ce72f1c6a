"""Autoencoders: their scale, and pictures from decoded values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.models.folder import read_config, read_number
from hierdiff_core.recipe import Recipe


def to_pixels(decoded: torch.Tensor, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return pictures (B, height, width, 3) of decoded values (B, 3, h, w) between -1 and 1.

    Pixels beyond the size are cropped.
    """
    share = (decoded.float() * 0.5 + 0.5).clamp(0, 1)
    whole = (share * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return np.asarray(whole[:, :height, :width].cpu())


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return the pictures (B, 3, h, w), from -1 to 1, of latents (B, C, h, w) as networks see them.

    Scaled back by the autoencoder's own factors, or by its mean and spread of each channel.
    """
    config, scaled = vae.config, latents.to(vae.device, vae.dtype)
    mean, spread = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and spread is not None:
        of_channel = (1, -1, *[1] * (scaled.dim() - 2))
        scaled = scaled * scaled.new_tensor(spread).view(of_channel) / config.scaling_factor
        scaled = scaled + scaled.new_tensor(mean).view(of_channel)
    else:
        scaled = scaled / config.scaling_factor
        scaled = scaled + (getattr(config, "shift_factor", None) or 0.0)
    decoded: torch.Tensor = vae.decode(scaled).sample
    return decoded


def check_sides(recipe: Recipe, multiple: int) -> None:
    """Raise InvalidSetting unless both sides are multiples of some pixels."""
    for name in ("height", "width"):
        if getattr(recipe, name) % multiple:
            hint = f"use a multiple of {multiple}"
            raise InvalidSetting(setting=name, value=getattr(recipe, name), hint=hint)


def autoencoder_scale(model: str, part: str) -> int:
    """Return the pixels of a side per latent, read from a model's config alone."""
    channels = read_config(model, part).get("block_out_channels")
    if not isinstance(channels, list):
        hint = f"the config.json of its part {part} has no block_out_channels; fetch it again"
        raise UnknownModel(model=model, hint=hint)
    return int(2 ** (len(channels) - 1))


def made_size(model: str, part: str) -> tuple[int, int]:
    """Return the height and width in pixels that a U-Net of this autoencoder was trained on."""
    side = read_number(model, "unet", "sample_size") * autoencoder_scale(model, part)
    return side, side
