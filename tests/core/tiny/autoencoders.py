"""Small autoencoders with random weights."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    VQModel,
)

BLOCKS: dict[str, Any] = {"block_out_channels": (32, 32), "layers_per_block": 1}
DOWN = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}


def kl(channels: int = 4, **scales: float) -> AutoencoderKL:
    """Return one whose latents are two pixels wide."""
    return AutoencoderKL(latent_channels=channels, **BLOCKS, **DOWN, **scales)


def flux2() -> AutoencoderKLFlux2:
    made: Any = AutoencoderKLFlux2(latent_channels=8, **BLOCKS, **DOWN)
    made.bn.running_mean.normal_()
    made.bn.running_var.uniform_(0.5, 2)
    flux2: AutoencoderKLFlux2 = made
    return flux2


def qwen() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=32,
        z_dim=16,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
    )


def deep() -> AutoencoderDC:
    return AutoencoderDC(
        latent_channels=32,
        encoder_block_out_channels=(32, 32),
        decoder_block_out_channels=(32, 32),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        scaling_factor=0.41407,
    )


def movq() -> VQModel:
    """Return one whose latents are eight pixels wide."""
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32,) * 4,
        layers_per_block=1,
        latent_channels=4,
        num_vq_embeddings=8,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )
