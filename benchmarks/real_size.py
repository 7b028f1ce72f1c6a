"""Kandinsky 2.2's decoder at its real size with random weights, and one shrunk to try the code on.

Knows the published configurations. Speed does not depend on the values of weights; pictures do,
and these show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel

from benchmarks.catalogue import Catalogue
from hierdiff_core.embedding import Conditioning
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.models.kandinsky22 import fit as fit_decoder
from hierdiff_core.recipe import Recipe


@dataclass(frozen=True)
class Scale:
    """Sizes of the two networks and of the pictures."""

    channels: tuple[int, ...]  # of the UNet's levels
    layers: int  # of each
    head: int  # channels of an attention head
    cross: int  # width that the UNet attends to
    width: int  # of an embedding
    pixels: int
    autoencoder: tuple[int, ...]  # channels of the MoVQ's levels
    codes: int


# kandinsky-community/kandinsky-2-2-decoder, its unet/config.json and movq/config.json
REAL = Scale((384, 768, 1152, 1536), 3, 64, 768, 1280, 512, (128, 256, 256, 512), 16384)
SHRUNK = Scale((32, 64), 1, 8, 32, 64, 64, (32, 64), 16)

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False, "steps_offset": 1}


def make_networks(scale: Scale, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a KandinskyV22Pipeline with random weights, made on the device itself."""
    with torch.device(device):
        torch.manual_seed(0)
        unet = make_unet(scale)
        movq = make_autoencoder(scale)
    # A random network would amplify rounding far more than a trained one does.
    unet.conv_out.weight.data.mul_(0.1)
    scheduler = DDPMScheduler(variance_type="fixed_small", **NOISE)
    pipeline: Any = KandinskyV22Pipeline(unet=unet.eval(), scheduler=scheduler, movq=movq.eval())
    return pipeline.to(device=device, dtype=dtype)


def make_unet(scale: Scale) -> Any:
    """Return the UNet, four levels at the real size, two at the shrunk one."""
    inner = len(scale.channels) - 1
    return UNet2DConditionModel(
        sample_size=scale.pixels // 8,
        in_channels=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * inner),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(*["SimpleCrossAttnUpBlock2D"] * inner, "ResnetUpsampleBlock2D"),
        block_out_channels=scale.channels,
        layers_per_block=scale.layers,
        attention_head_dim=scale.head,
        cross_attention_dim=scale.cross,
        encoder_hid_dim=scale.width,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
    )


def make_autoencoder(scale: Scale) -> Any:
    """Return the MoVQ, four levels at the real size, two at the shrunk one."""
    return VQModel(
        down_block_types=_blocks(scale, "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=_blocks(scale, "UpDecoderBlock2D", "AttnUpDecoderBlock2D")[::-1],
        block_out_channels=scale.autoencoder,
        layers_per_block=2,
        latent_channels=4,
        num_vq_embeddings=scale.codes,
        vq_embed_dim=4,
        norm_type="spatial",
    )


def make_catalogue(scale: Scale, count: int, steps: int) -> Catalogue:
    """Return N random embeddings that lie in groups of groups, as those of a catalogue do."""
    drawn = torch.Generator().manual_seed(0)
    rows = torch.zeros(count, scale.width)
    for group, spread in ((64, 1.0), (8, 0.7), (1, 0.5)):
        centres = torch.randn(count // group + 1, scale.width, generator=drawn)
        rows += spread * centres.repeat_interleave(group, dim=0)[:count]
    side = scale.pixels
    recipe = Recipe("kandinsky22", "real size", "ddim", steps, 4.0, height=side, width=side)
    keys = tuple(f"prompt {row:06d}" for row in range(count))
    negative = Conditioning({EMBEDDING: torch.zeros(1, scale.width)})
    return Catalogue(recipe, keys, Conditioning({EMBEDDING: rows}), negative)


def fit(pipeline: Any, catalogue: Catalogue) -> Decoder:
    """Return the networks as a Denoiser."""
    return fit_decoder(pipeline, catalogue.recipe, catalogue.negative)


def _blocks(scale: Scale, plain: str, attentive: str) -> tuple[str, ...]:
    return (*[plain] * (len(scale.autoencoder) - 1), attentive)
