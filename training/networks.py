"""The shapes of the miniature's networks: stock classes with small settings.

Knows widths and depths; knows nothing of data, losses or files.
"""

from __future__ import annotations

from diffusers import (
    DDPMScheduler,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from training.tokenizer import MAX_TOKENS

PIXELS = 64
LATENT_CHANNELS = 4
LATENT_PIXELS = 16
EMBEDDING = 128  # of texts and pictures; the text states must be as wide as the embedding


def build_text_encoder(vocabulary: int, start_id: int, end_id: int) -> CLIPTextModelWithProjection:
    """Return the text half of CLIP; it pools at the first end token."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=EMBEDDING,
            intermediate_size=2 * EMBEDDING,
            projection_dim=EMBEDDING,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=start_id,
            eos_token_id=end_id,
            pad_token_id=end_id,
        )
    )


def build_image_encoder() -> CLIPVisionModelWithProjection:
    """Return the picture half of CLIP: 64 patches of 8 x 8 pixels."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=EMBEDDING,
            intermediate_size=3 * EMBEDDING,
            projection_dim=EMBEDDING,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=PIXELS,
            patch_size=8,
        )
    )


def build_image_processor() -> CLIPImageProcessor:
    """Return the processor that turns a picture into 64 x 64 values between -1 and 1."""
    return CLIPImageProcessor(
        size={"shortest_edge": PIXELS},
        crop_size={"height": PIXELS, "width": PIXELS},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def build_autoencoder() -> VQModel:
    """Return the autoencoder: (B, 3, 64, 64) to (B, 4, 16, 16) and back, without lookup."""
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        sample_size=PIXELS,
        num_vq_embeddings=4,
        norm_num_groups=2,  # large groups: small ones normalise the colours away
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def build_prior() -> PriorTransformer:
    """Return the prior: text embedding and states to picture embedding."""
    return PriorTransformer(
        num_attention_heads=4,
        attention_head_dim=32,
        num_layers=4,
        embedding_dim=EMBEDDING,
        num_embeddings=MAX_TOKENS,
    )


def build_unet() -> UNet2DConditionModel:
    """Return the denoiser with Kandinsky 2.2's kinds of block.

    Of its 8 output channels the first 4, the noise, are trained; pipelines drop the others.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_PIXELS,
        in_channels=LATENT_CHANNELS,
        out_channels=2 * LATENT_CHANNELS,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(64, 96),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=EMBEDDING,
        attention_head_dim=32,
        encoder_hid_dim=EMBEDDING,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
    )


def build_prior_scheduler() -> UnCLIPScheduler:
    """Return the prior's scheduler: cosine, predicts the embedding itself, as Kandinsky 2.2."""
    return UnCLIPScheduler(
        variance_type="fixed_small_log",
        num_train_timesteps=1000,
        clip_sample=True,
        clip_sample_range=5.0,
        prediction_type="sample",
    )


def build_decoder_scheduler() -> DDPMScheduler:
    """Return Kandinsky 2.2's noise schedule with a fixed variance, since none is learnt."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        variance_type="fixed_small",
        clip_sample=False,
        prediction_type="epsilon",
        steps_offset=1,
    )
