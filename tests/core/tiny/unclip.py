"""Small models of Karlo and Stable unCLIP, and how their stock pipelines are called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from diffusers import (
    DDPMScheduler,
    PNDMScheduler,
    PriorTransformer,
    StableUnCLIPPipeline,
    UnCLIPPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
    StableUnCLIPImageNormalizer,
)

from hierdiff_core.models.stable_unclip import draw_noise
from tests.core.tiny import autoencoders, encoders, tokenizers
from tests.core.tiny.encoders import WIDE
from tests.core.tiny.latent_diffusion import LATENT_DIFFUSION, NOISES
from tests.core.tiny.model import LENGTH, Asked, Found, Tiny, call_stock, recorded

PRIOR_STEPS, ENLARGING = 3, 3
SMALL, LARGE = 16, 32  # pixels
RESNETS: Mapping[str, Any] = {
    "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
    "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "resnet_time_scale_shift": "scale_shift",
}


def prior() -> PriorTransformer:
    return PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=32,
        num_layers=1,
        embedding_dim=WIDE,
        num_embeddings=LENGTH,
    )


def karlo() -> UnCLIPPipeline:
    words = tokenizers.clip(LENGTH)
    decoder = UNet2DConditionModel(
        sample_size=SMALL,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=WIDE,
        attention_head_dim=32,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="identity",
    )
    return UnCLIPPipeline(
        prior=prior(),
        decoder=decoder,
        text_encoder=encoders.clip(words, projected=True),
        tokenizer=words,
        text_proj=UnCLIPTextProjModel(
            clip_embeddings_dim=WIDE, time_embed_dim=128, cross_attention_dim=WIDE
        ),
        super_res_first=_enlarging(),
        super_res_last=_enlarging(),
        prior_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            num_train_timesteps=1000,
            clip_sample_range=5.0,
        ),
        decoder_scheduler=UnCLIPScheduler(
            variance_type="learned_range", prediction_type="epsilon", num_train_timesteps=1000
        ),
        super_res_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="epsilon", num_train_timesteps=1000
        ),
    )


def _enlarging() -> UNet2DModel:
    return UNet2DModel(sample_size=LARGE, in_channels=6, out_channels=3, **RESNETS)


def call_karlo(pipeline: Any, model: Tiny, asked: Asked) -> Found:
    """Return the picture, and the latents as they were before pixels are cut to their range.

    The last step takes beta / (1 - alpha bar) of x_0, which is 1, and 0.9995 in float32 where the
    one is rounded and the other is not; here they are rounded alike. What is left is the first
    step of either sampler, which multiplies rounding by 20,000 and turns it into another colour of
    a pixel now and then.
    """
    scheduler = pipeline.decoder_scheduler
    scheduler.betas[0] = 1 - scheduler.alphas_cumprod[0]
    with recorded(scheduler) as ends:
        made = pipeline(
            asked.text,
            prior_num_inference_steps=PRIOR_STEPS,
            decoder_num_inference_steps=asked.steps,
            super_res_num_inference_steps=ENLARGING,
            decoder_latents=asked.noise[None].clone(),
            decoder_guidance_scale=asked.guidance,
            output_type="np",
        )
    return ends[-1], made.images[0]


def stable_unclip() -> StableUnCLIPPipeline:
    words = tokenizers.clip(LENGTH)
    return StableUnCLIPPipeline(
        prior_tokenizer=words,
        prior_text_encoder=encoders.clip(words, projected=True),
        prior=prior(),
        prior_scheduler=DDPMScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            clip_sample_range=5.0,
            beta_schedule="squaredcos_cap_v2",
        ),
        image_normalizer=StableUnCLIPImageNormalizer(WIDE),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizers.clip(LENGTH),
        text_encoder=encoders.clip(words),
        unet=UNet2DConditionModel(
            sample_size=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            cross_attention_dim=WIDE,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * WIDE,
        ),
        scheduler=PNDMScheduler(
            **LATENT_DIFFUSION, prediction_type="v_prediction", skip_prk_steps=True
        ),
        vae=autoencoders.kl(),
    )


def call_stable_unclip(pipeline: Any, model: Tiny, asked: Asked) -> Found:
    """Return what the pipeline makes with our noise on the embedding of a picture."""
    noise = draw_noise(0, WIDE)
    stock = StableUnCLIPPipeline.noise_image_embeddings
    pipeline.noise_image_embeddings = partial(stock, pipeline, noise=noise)
    return call_stock(pipeline, model, asked)


MODELS: Mapping[str, Tiny] = {
    "stable_unclip": Tiny(
        "stable_unclip",
        stable_unclip,
        options={"prior_steps": PRIOR_STEPS, "noise_level": 300},
        stock={"prior_num_inference_steps": PRIOR_STEPS, "noise_level": 300},
        call=call_stable_unclip,
        others=NOISES,
    ),
    "karlo": Tiny(
        "karlo",
        karlo,
        side=LARGE,
        whole=False,
        fixed=True,
        negative=False,
        options={"prior_steps": PRIOR_STEPS, "super_res_steps": ENLARGING},
        call=call_karlo,
        near=5e-4,
        stray=1e-3,
    ),
}
