"""Training of the autoencoder, and latents whose channels have mean 0 and deviation 1.

Knows pictures and `VQModel`; knows neither captions nor embeddings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.loop import Losses, Plan, train
from training.networks import LATENT_PIXELS, PIXELS, build_autoencoder
from training.pictures import Pictures

BATCH = 16
HUE_DEVIATION = (0.26, 0.34)  # of `_hues` over the drawings
HUE_CELL = PIXELS // LATENT_PIXELS
LATENT_NOISE = 0.05  # the decoder must bear what the denoiser gets slightly wrong


def train_autoencoder(pictures: Pictures, plan: Plan, folder: Path, seed: int) -> VQModel:
    """Train on whole pictures with small batches: many steps matter more than smooth ones."""
    torch.manual_seed(seed)
    model = build_autoencoder().to(memory_format=torch.channels_last)

    def losses(generator: torch.Generator) -> Losses:
        rows = torch.randint(len(pictures.labels), (BATCH,), generator=generator)
        found = _losses(model, as_input(pictures.pixels[np.sort(rows.numpy())]), generator)
        if plan.begin is None:  # trained channels carry the hues already, turned by `standardise`
            found["loss"] = found["loss"] + 0.3 * found["carried"]
        return found

    train("autoencoder", model, losses, plan, folder, seed)
    standardise(model, as_input(pictures.pixels[:1024]))
    return model


def as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn (B, 64, 64, 3) bytes into (B, 3, 64, 64) values between -1 and 1."""
    return torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def _losses(model: VQModel, batch: Tensor, generator: torch.Generator) -> Losses:
    """Reconstruction, and latents that are near a unit normal and carry the hues.

    Left alone, a small network spends its channels on edges and light, and learns red against
    green last of all; so the first two channels are told to carry the hues.
    """
    latents = model.encode(batch).latents
    noise = LATENT_NOISE * torch.randn(latents.shape, generator=generator)
    decoded = model.decode(latents + noise, force_not_quantize=True).sample
    found = reconstruction_losses(decoded - batch)
    told = _hues(batch, HUE_CELL) / torch.tensor(HUE_DEVIATION)[:, None, None]
    carried = (latents[:, :2] - told).square().mean()
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    normal = mean.square().mean() + (deviation - 1).square().mean()
    loss = found["loss"] + 0.05 * normal
    return found | {"loss": loss, "carried": carried}


def reconstruction_losses(error: Tensor) -> Losses:
    """L1 on pixels, slopes and the means of 4 x 4 blocks, squares on the blocks' hues."""
    pixel = error.abs().mean()
    slope = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    blocks = functional.avg_pool2d(error, 4).abs().mean()
    hue = _hues(error, 4).square().mean()
    loss = pixel + 0.5 * slope + blocks + 3.0 * hue
    return {"loss": loss, "pixel": pixel, "slope": slope, "hue": hue}


def _hues(batch: Tensor, cell: int) -> Tensor:
    """Return red minus green and yellow minus blue of square cells of that many pixels."""
    red, green, blue = functional.avg_pool2d(batch, cell).unbind(1)
    return torch.stack([red - green, (red + green) / 2 - blue], dim=1)


@torch.no_grad()
def standardise(model: VQModel, batch: Tensor) -> None:
    """Fold into the two 1 x 1 convolutions a shift and a scale: channels of mean 0, deviation 1.

    The decoder's first convolution undoes it, so reconstructions stay what they were. Channels stay
    correlated: what varies little is what noise hides first, so it comes last, as in real models.
    """
    flat = latents_of(model, batch).permute(1, 0, 2, 3).flatten(1)
    mean, deviation = flat.mean(1), flat.std(1)
    last, first = model.quant_conv, model.post_quant_conv
    first.bias += first.weight[..., 0, 0] @ mean
    first.weight *= deviation[None, :, None, None]
    last.bias.copy_((last.bias - mean) / deviation)
    last.weight /= deviation[:, None, None, None]


@torch.no_grad()
def latents_of(model: VQModel, pixels: Tensor) -> Tensor:
    """Encode (N, 3, 64, 64) to (N, 4, 16, 16) in pieces that fit the processor's cache."""
    return torch.cat([model.encode(piece).latents for piece in pixels.split(32)])
