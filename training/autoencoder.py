"""Training of the autoencoder, and latents with mean 0 and unit covariance.

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
from training.networks import build_autoencoder
from training.pictures import Pictures

BATCH = 8
HUE_DEVIATION = (0.26, 0.34)  # of `_hues` over the drawings
LATENT_NOISE = 0.05  # the decoder must bear what the denoiser gets slightly wrong


def train_autoencoder(pictures: Pictures, plan: Plan, folder: Path, seed: int) -> VQModel:
    """Train on whole pictures with small batches: many steps matter more than smooth ones."""
    torch.manual_seed(seed)
    model = build_autoencoder()

    def losses(generator: torch.Generator) -> Losses:
        rows = torch.randint(len(pictures.labels), (BATCH,), generator=generator)
        return _losses(model, as_input(pictures.pixels[np.sort(rows.numpy())]), generator)

    train("autoencoder", model, losses, plan, folder, seed)
    whiten(model, as_input(pictures.pixels[:512]))
    return model


def as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn (B, 64, 64, 3) bytes into (B, 3, 64, 64) values between -1 and 1."""
    return torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def _losses(model: VQModel, batch: Tensor, generator: torch.Generator) -> Losses:
    """Reconstruction, and latents that are near a unit normal and carry the hues.

    Left alone, a small network spends all four channels on edges and light, and learns red against
    green last of all; so the first two channels are told to carry the hues.
    """
    latents = model.encode(batch).latents
    noise = LATENT_NOISE * torch.randn(latents.shape, generator=generator)
    decoded = model.decode(latents + noise, force_not_quantize=True).sample
    found = reconstruction_losses(decoded - batch)
    told = _hues(batch) / torch.tensor(HUE_DEVIATION)[:, None, None]
    carried = (latents[:, :2] - told).square().mean()
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    normal = mean.square().mean() + (deviation - 1).square().mean()
    loss = found["loss"] + 0.3 * carried + 0.05 * normal
    return found | {"loss": loss, "carried": carried}


def reconstruction_losses(error: Tensor) -> Losses:
    """L1 on pixels, slopes and the means of 4 x 4 blocks, squares on the blocks' hues."""
    pixel = error.abs().mean()
    slope = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    blocks = functional.avg_pool2d(error, 4).abs().mean()
    hue = _hues(error).square().mean()
    loss = pixel + 0.5 * slope + blocks + 3.0 * hue
    return {"loss": loss, "pixel": pixel, "slope": slope, "hue": hue}


def _hues(batch: Tensor) -> Tensor:
    """Return red minus green and yellow minus blue of 4 x 4 blocks, (B, 2, 16, 16)."""
    red, green, blue = functional.avg_pool2d(batch, 4).unbind(1)
    return torch.stack([red - green, (red + green) / 2 - blue], dim=1)


@torch.no_grad()
def whiten(model: VQModel, batch: Tensor) -> None:
    """Fold into the two 1 x 1 convolutions a map that makes latents' channels a unit normal.

    With covariance S, latents become S^(-1/2) (z - mean); the decoder's first convolution undoes
    it, so reconstructions stay what they were.
    """
    flat = latents_of(model, batch).permute(1, 0, 2, 3).flatten(1)
    mean = flat.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(flat))
    forth = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    back = vectors @ torch.diag(values.sqrt()) @ vectors.T
    last, first = model.quant_conv, model.post_quant_conv
    first.bias += first.weight[..., 0, 0] @ mean
    first.weight.copy_((first.weight[..., 0, 0] @ back)[..., None, None])
    last.bias.copy_(forth @ (last.bias - mean))
    last.weight.copy_((forth @ last.weight[..., 0, 0])[..., None, None])


@torch.no_grad()
def latents_of(model: VQModel, pixels: Tensor) -> Tensor:
    """Encode (N, 3, 64, 64) to (N, 4, 16, 16) in pieces that fit the processor's cache."""
    return torch.cat([model.encode(piece).latents for piece in pixels.split(32)])
