"""A second training of the autoencoder's decoder alone, on the latents that the UNet learns.

Knows a frozen encoder's latents; it may run beside the UNet's training, as it moves no latent.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import VQModel
from torch import Tensor, nn

from training.autoencoder import BATCH, as_input, reconstruction_losses
from training.loop import Losses, Plan, train
from training.pictures import Pictures

LATENT_NOISE = 0.08  # the decoder must bear what the UNet gets slightly wrong


class Decoder(nn.Module):
    """What of a `VQModel` turns latents into pictures."""

    def __init__(self, model: VQModel) -> None:
        super().__init__()
        self.entry = model.post_quant_conv
        self.decoder = model.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Turn (B, 4, 16, 16) into (B, 3, 64, 64)."""
        return self.decoder(self.entry(latents))


def polish_decoder(
    model: VQModel, pictures: Pictures, latents: Tensor, plan: Plan, folder: Path, seed: int
) -> VQModel:
    """Train the decoder of `model` further, in place, on noisy latents (N, 4, 16, 16)."""
    decoder = Decoder(model).requires_grad_(True)

    def losses(generator: torch.Generator) -> Losses:
        rows = torch.randint(len(latents), (BATCH,), generator=generator)
        noise = LATENT_NOISE * torch.randn((BATCH, *latents.shape[1:]), generator=generator)
        wanted = as_input(pictures.pixels[rows.numpy()])
        return reconstruction_losses(decoder(latents[rows] + noise) - wanted)

    train("decoder", decoder, losses, plan, folder, seed)
    return model
