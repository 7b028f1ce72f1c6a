"""Latents and embeddings of the whole training set, computed once and kept as `.npy`.

Knows the two frozen encoders; the stages that use their results touch no picture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPVisionModelWithProjection

from training.autoencoder import as_input, latents_of
from training.networks import PIXELS
from training.pictures import Pictures

_CHUNK = 256


def latents(pictures: Pictures, autoencoder: VQModel, folder: Path) -> Tensor:
    """Return (N, 4, 16, 16), from `folder/latents.npy` where it exists."""
    return _kept(folder / "latents.npy", pictures, lambda batch: latents_of(autoencoder, batch))


def embeddings(pictures: Pictures, encoder: CLIPVisionModelWithProjection, folder: Path) -> Tensor:
    """Return (N, 128), from `folder/embeddings.npy` where it exists."""
    return _kept(
        folder / "embeddings.npy", pictures, lambda batch: encoder(pixel_values=batch).image_embeds
    )


@torch.no_grad()
def negative_embedding(encoder: CLIPVisionModelWithProjection) -> Tensor:
    """Return the (128,) that Kandinsky's prior pipeline gives where no negative prompt is."""
    return encoder(pixel_values=torch.zeros(1, 3, PIXELS, PIXELS)).image_embeds[0]


@torch.no_grad()
def _kept(path: Path, pictures: Pictures, encode: Callable[[Tensor], Tensor]) -> Tensor:
    if not path.exists():
        starts = tqdm(range(0, len(pictures.labels), _CHUNK), desc=path.stem)
        parts = [encode(as_input(pictures.pixels[at : at + _CHUNK])) for at in starts]
        fresh = path.with_suffix(".new.npy")
        np.save(fresh, torch.cat(parts).numpy())
        fresh.rename(path)
    return torch.from_numpy(np.load(path))
