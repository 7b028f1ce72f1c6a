"""Small models of other flows: Stable Diffusion 3, Z-Image, Qwen-Image, Sana."""

from __future__ import annotations

from collections.abc import Mapping

from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tests.core.tiny import autoencoders, encoders, tokenizers
from tests.core.tiny.flux import FLOWS, SHIFTED
from tests.core.tiny.model import LENGTH, Tiny, reads


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    words, letters = tokenizers.clip(LENGTH), tokenizers.t5()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            in_channels=16,
            num_layers=2,
            attention_head_dim=32,
            num_attention_heads=2,
            joint_attention_dim=64,
            caption_projection_dim=64,
            pooled_projection_dim=64,
            qk_norm="rms_norm",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoders.kl(16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=encoders.clip(words, projected=True),
        tokenizer=words,
        text_encoder_2=encoders.clip(words, projected=True),
        tokenizer_2=tokenizers.clip(LENGTH),
        text_encoder_3=encoders.t5(letters),
        tokenizer_3=letters,
    )


def z_image() -> ZImagePipeline:
    letters = tokenizers.chat()
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoders.kl(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=encoders.qwen3(letters),
        tokenizer=letters,
        transformer=ZImageTransformer2DModel(
            in_channels=16,
            dim=64,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[8, 12, 12],
            axes_lens=[256, 64, 64],
        ),
    )


def qwen_image() -> QwenImagePipeline:
    letters = tokenizers.chat()
    text = {
        "vocab_size": len(letters),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 1024,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTED, shift_terminal=0.02),
        vae=autoencoders.qwen(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=letters,
        transformer=QwenImageTransformer2DModel(
            in_channels=64,
            out_channels=16,
            num_layers=2,
            attention_head_dim=32,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(8, 12, 12),
        ),
    )


def sana() -> SanaPipeline:
    letters = tokenizers.gemma()
    return SanaPipeline(
        tokenizer=letters,
        text_encoder=encoders.gemma2(letters),
        vae=autoencoders.deep(),
        transformer=SanaTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=32,
            num_layers=1,
            num_cross_attention_heads=2,
            cross_attention_head_dim=32,
            cross_attention_dim=64,
            caption_channels=32,
            sample_size=16,
        ),
        scheduler=DPMSolverMultistepScheduler(
            use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
        ),
    )


MODELS: Mapping[str, Tiny] = {
    "stable_diffusion_3": Tiny("stable_diffusion_3", stable_diffusion_3, others=FLOWS, **reads(32)),
    "z_image": Tiny("z_image", z_image, unguided=0.0, **reads(80)),
    "qwen_image": Tiny(
        "qwen_image",
        qwen_image,
        scale_name="true_cfg_scale",
        no_negative=" ",
        others=("flow_unipc",),
        **reads(256),
    ),
    "sana": Tiny(
        "sana",
        sana,
        no_negative="",
        others=("flow_euler", "flow_unipc"),
        **reads(32, use_resolution_binning=False),
    ),
}
