"""Training of the decoder's denoiser: from noise and a picture embedding to latents.

Knows latents and embeddings, both computed once; knows neither pixels nor captions.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from training.loop import Losses, Plan, train
from training.networks import LATENT_CHANNELS, build_decoder_scheduler, build_unet
from training.prior import spread_times

BATCH = 64  # for each process
DROPPED = 0.1  # of embeddings replaced by the pipeline's negative one, for guidance
EMBEDDING_NOISE = 0.15  # the prior's embeddings are not exactly those of pictures
SNR_CEILING = 5.0  # Hang et al. 2023, "Efficient diffusion training via min-SNR weighting"


def train_unet(
    latents: Tensor, embeddings: Tensor, negative: Tensor, plan: Plan, folder: Path, seed: int
) -> UNet2DConditionModel:
    """Train on latents (N, 4, 16, 16) and embeddings (N, 128).

    `negative`, (128,), is what Kandinsky's prior pipeline passes where nothing is wanted: its
    image encoder's answer to an all-zero picture, not a vector of zeros.
    """
    torch.manual_seed(seed)
    model = build_unet().to(memory_format=torch.channels_last)
    scheduler = build_decoder_scheduler()
    spread = embeddings.std(0)

    def losses(generator: torch.Generator) -> Losses:
        rows = torch.randint(len(latents), (BATCH,), generator=generator)
        jitter = torch.randn((BATCH, len(spread)), generator=generator)
        wanted = embeddings[rows] + EMBEDDING_NOISE * spread * jitter
        dropped = torch.rand((BATCH, 1), generator=generator) < DROPPED
        wanted = torch.where(dropped, negative, wanted)
        times = spread_times(BATCH, generator)
        noise = torch.randn((BATCH, *latents.shape[1:]), generator=generator)
        noisy = scheduler.add_noise(latents[rows], noise, times)
        found = model(noisy, times, None, added_cond_kwargs={"image_embeds": wanted}).sample
        error = (found[:, :LATENT_CHANNELS] - noise).square().mean((1, 2, 3))
        kept = scheduler.alphas_cumprod[times]
        weight = (SNR_CEILING * (1 - kept) / kept).clamp(max=1.0)
        return {"loss": (weight * error).mean(), "error": error.mean()}

    train("unet", model, losses, plan, folder, seed)
    return model
