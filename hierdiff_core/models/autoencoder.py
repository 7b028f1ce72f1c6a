"""Autoencoders: their scale, and pictures from decoded values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.errors import UnknownModel
from hierdiff_core.models.folder import read_config, read_number


def to_pixels(decoded: torch.Tensor, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return pictures (B, height, width, 3) of decoded values (B, 3, h, w) between -1 and 1.

    Pixels beyond the size are cropped.
    """
    share = (decoded.float() * 0.5 + 0.5).clamp(0, 1)
    whole = (share * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return np.asarray(whole[:, :height, :width].cpu())


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
