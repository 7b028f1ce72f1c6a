"""A small pipeline of every family, and how its stock class is called for the same picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tests.core.tiny import autoencoders, encoders, tokenizers

LENGTH = 24  # tokens of CLIP
LATENT_DIFFUSION: Mapping[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
SHIFTED: Mapping[str, Any] = {"use_dynamic_shifting": True, "shift": 3.0}


@dataclass(frozen=True)
class Tiny:
    """One model of a family."""

    family: str
    make: Callable[[], Any]  # the stock pipeline
    side: int = 32  # pixels
    options: Mapping[str, Any] = field(default_factory=dict)  # of the recipe
    stock: Mapping[str, Any] = field(default_factory=dict)  # arguments of the stock call
    guidance: float = 3.0
    unguided: float = 1.0
    scale_name: str = "guidance_scale"  # of the argument that guides
    no_negative: str | None = None  # what stands for no negative prompt
    negative: bool = True  # whether there are negative prompts
    others: tuple[str, ...] = ()  # solvers beside its own that the stock pipeline can be given
    packed: Callable[[torch.Tensor], torch.Tensor] = lambda latents: latents  # as stock's are


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


def flux(*, distilled: bool = True) -> FluxPipeline:
    words, letters = tokenizers.clip(LENGTH), tokenizers.t5()
    shift = SHIFTED if distilled else {"shift": 1.0}
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**shift),
        vae=autoencoders.kl(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=encoders.clip(words),
        tokenizer=words,
        text_encoder_2=encoders.t5(letters),
        tokenizer_2=letters,
        transformer=FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=32,
            num_attention_heads=2,
            joint_attention_dim=64,
            pooled_projection_dim=32,
            guidance_embeds=distilled,
            axes_dims_rope=(8, 12, 12),
        ),
    )


def flux_schnell() -> FluxPipeline:
    return flux(distilled=False)


def _flux2_transformer(*, guided: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        in_channels=32,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=96,
        timestep_guidance_channels=32,
        axes_dims_rope=(8, 8, 8, 8),
        guidance_embeds=guided,
    )


def flux2() -> Flux2Pipeline:
    letters = tokenizers.chat()
    return Flux2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTED),
        vae=autoencoders.flux2(),
        text_encoder=encoders.qwen3(letters, layers=30),
        tokenizer=letters,
        transformer=_flux2_transformer(guided=True),
    )


def flux2_klein() -> Flux2KleinPipeline:
    letters = tokenizers.chat()
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTED),
        vae=autoencoders.flux2(),
        text_encoder=encoders.qwen3(letters, layers=27),
        tokenizer=letters,
        transformer=_flux2_transformer(guided=False),
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


def _pack(latents: torch.Tensor) -> torch.Tensor:
    """Return FLUX.2's latents (C, h, w) as dev's pipeline returns them."""
    return latents.flatten(1).T


def _tokens(count: int, **stock: Any) -> dict[str, Any]:
    return {
        "options": {"max_tokens": count},
        "stock": {"max_sequence_length": count, **stock},
    }


FLOWS, NOISES = ("flow_dpmsolver++", "flow_unipc"), ("ddim", "dpmsolver++")
EXACT: Mapping[str, Any] = {"use_resolution_binning": False}
MODELS: Mapping[str, Tiny] = {
    "stable_diffusion_xl": Tiny("stable_diffusion_xl", stable_diffusion_xl, others=NOISES),
    "stable_diffusion_3": Tiny(
        "stable_diffusion_3", stable_diffusion_3, others=FLOWS, **_tokens(32)
    ),
    "flux": Tiny("flux", flux, negative=False, others=FLOWS, **_tokens(32)),
    "flux_schnell": Tiny(
        "flux", flux_schnell, guidance=0.0, unguided=0.0, negative=False, **_tokens(32)
    ),
    "flux2": Tiny("flux2", flux2, negative=False, others=FLOWS, packed=_pack, **_tokens(256)),
    "flux2_klein": Tiny("flux2", flux2_klein, negative=False, others=FLOWS, **_tokens(96)),
    "z_image": Tiny("z_image", z_image, unguided=0.0, **_tokens(80)),
    "qwen_image": Tiny(
        "qwen_image",
        qwen_image,
        scale_name="true_cfg_scale",
        no_negative=" ",
        others=("flow_unipc",),
        **_tokens(256),
    ),
    "sana": Tiny(
        "sana", sana, no_negative="", others=("flow_euler", "flow_unipc"), **_tokens(32, **EXACT)
    ),
    "pixart_sigma": Tiny(
        "pixart_sigma",
        pixart_sigma,
        no_negative="",
        others=("ddim", "euler"),
        **_tokens(32, **EXACT),
    ),
    "kandinsky3": Tiny("kandinsky3", kandinsky3, side=64, guidance=2.0, others=NOISES),
}


def redraw(pipeline: Any, seed: int = 0) -> Any:
    """Return the pipeline with all weights drawn anew, so that no input is without effect."""
    draws = torch.Generator().manual_seed(seed)
    for part in pipeline.components.values():
        if not isinstance(part, torch.nn.Module):
            continue
        for name, weight in part.named_parameters():
            drawn = torch.randn(weight.shape, generator=draws)
            wide = weight[0].numel() if weight.dim() > 1 else 0
            if weight.dim() > 1 and "embed" in name and "proj" not in name:
                weight.data = 0.5 * drawn
            elif weight.dim() > 1:
                weight.data = 0.7 * drawn / wide**0.5
            else:
                is_scale = "norm" in name and name.endswith("weight")
                weight.data = is_scale + 0.1 * drawn
        part.eval()
    return pipeline
