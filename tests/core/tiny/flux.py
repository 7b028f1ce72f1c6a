"""Small models of FLUX.1 and FLUX.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
)

from tests.core.tiny import autoencoders, encoders, tokenizers
from tests.core.tiny.model import LENGTH, Tiny, reads

SHIFTED: Mapping[str, Any] = {"use_dynamic_shifting": True, "shift": 3.0}
FLOWS = ("flow_dpmsolver++", "flow_unipc")


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


def _pack(latents: torch.Tensor) -> torch.Tensor:
    """Return FLUX.2's latents (C, h, w) as its pipelines hold them."""
    return latents.flatten(1).T


MODELS: Mapping[str, Tiny] = {
    "flux": Tiny("flux", flux, negative=False, others=FLOWS, **reads(32)),
    "flux_schnell": Tiny(
        "flux", flux_schnell, guidance=0.0, unguided=0.0, negative=False, **reads(32)
    ),
    "flux2": Tiny("flux2", flux2, negative=False, others=FLOWS, packed=_pack, **reads(256)),
    "flux2_klein": Tiny(
        "flux2", flux2_klein, negative=False, others=FLOWS, packed=_pack, **reads(96)
    ),
}
