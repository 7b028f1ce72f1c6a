"""Small models of latent diffusion: SDXL, PixArt-Sigma, Kandinsky 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from tests.core.tiny import autoencoders, encoders, tokenizers
from tests.core.tiny.model import LENGTH, Tiny, reads

LATENT_DIFFUSION: Mapping[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
NOISES = ("ddim", "dpmsolver++")


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    words = tokenizers.clip(LENGTH)
    unet = UNet2DConditionModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        attention_head_dim=(2, 2),
        use_linear_projection=True,
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=32 + 6 * 32,
    )
    return StableDiffusionXLPipeline(
        vae=autoencoders.kl(scaling_factor=0.13025),
        text_encoder=encoders.clip(words),
        text_encoder_2=encoders.clip(words, projected=True),
        tokenizer=words,
        tokenizer_2=tokenizers.clip(LENGTH),
        unet=unet,
        scheduler=EulerDiscreteScheduler(**LATENT_DIFFUSION, timestep_spacing="leading"),
    )


def pixart_sigma() -> PixArtSigmaPipeline:
    letters = tokenizers.t5()
    return PixArtSigmaPipeline(
        tokenizer=letters,
        text_encoder=encoders.t5(letters, wide=32),
        vae=autoencoders.kl(scaling_factor=0.13025),
        transformer=PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=32,
            num_layers=2,
            cross_attention_dim=64,
            caption_channels=32,
            sample_size=16,
            norm_num_groups=8,
        ),
        scheduler=DPMSolverMultistepScheduler(),
    )


def kandinsky3() -> Kandinsky3Pipeline:
    letters = tokenizers.t5()
    return Kandinsky3Pipeline(
        tokenizer=letters,
        text_encoder=encoders.t5(letters),
        unet=Kandinsky3UNet(
            time_embedding_dim=64,
            groups=8,
            attention_head_dim=32,
            layers_per_block=2,
            block_out_channels=(64, 64),
            cross_attention_dim=64,
            encoder_hid_dim=64,
        ),
        scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=True),
        movq=autoencoders.movq(),
    )


MODELS: Mapping[str, Tiny] = {
    "stable_diffusion_xl": Tiny("stable_diffusion_xl", stable_diffusion_xl, others=NOISES),
    "pixart_sigma": Tiny(
        "pixart_sigma",
        pixart_sigma,
        no_negative="",
        others=("ddim", "euler"),
        **reads(32, use_resolution_binning=False),
    ),
    "kandinsky3": Tiny("kandinsky3", kandinsky3, side=64, guidance=2.0, others=NOISES),
}
