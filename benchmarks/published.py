"""Folders of models at their published sizes, random weights in bfloat16, one part after the other.

Sizes are those of the configurations that the models were published with. The process
`python -m benchmarks.published NAME FOLDER real|small` saves one; never more than one part is in
memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from benchmarks.real_size import NOISE, REAL, SHRUNK, make_autoencoder, make_unet

LATENT_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

Parts = Mapping[str, Callable[[], Any]]
_PRIOR_NOISE = partial(
    UnCLIPScheduler,
    variance_type="fixed_small_log",
    clip_sample_range=5.0,
    prediction_type="sample",
)


@dataclass(frozen=True)
class Folder:
    """A pipeline's folder: its class, and what makes each part."""

    pipeline: str
    parts: Parts
    more: Mapping[str, Any]  # of model_index.json


def stable_diffusion(small: bool) -> dict[str, Folder]:
    """Return Stable Diffusion 1.5: a U-Net of 860 million weights."""
    wide = (32, 64) if small else (320, 640, 1280, 1280)
    text = (64, 2) if small else (768, 12)
    inner = len(wide) - 1
    unet = partial(
        UNet2DConditionModel,
        sample_size=64,
        block_out_channels=wide,
        down_block_types=(*["CrossAttnDownBlock2D"] * inner, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * inner),
        cross_attention_dim=text[0],
        attention_head_dim=8,
    )
    scheduler = partial(
        PNDMScheduler, **LATENT_NOISE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1
    )
    parts: Parts = {
        "unet": unet,
        "vae": partial(_autoencoder, small, 512, scaling_factor=0.18215),
        "scheduler": scheduler,
        "text_encoder": partial(_clip_text, CLIPTextModel, *text),
        "tokenizer": _tokenizer,
    }
    return {"": Folder("StableDiffusionPipeline", parts, {})}


def stable_diffusion_xl(small: bool) -> dict[str, Folder]:
    """Return SDXL: a U-Net of 2.6 billion weights and two text encoders."""
    one, two = ((64, 2), (64, 2)) if small else ((768, 12), (1280, 32))
    depths = (1, 1, 1) if small else (1, 2, 10)
    size = 32 if small else 256
    unet = partial(
        UNet2DConditionModel,
        sample_size=128,
        block_out_channels=(32, 64, 64) if small else (320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=depths,
        attention_head_dim=(1, 2, 2) if small else (5, 10, 20),
        use_linear_projection=True,
        cross_attention_dim=one[0] + two[0],
        addition_embed_type="text_time",
        addition_time_embed_dim=size,
        projection_class_embeddings_input_dim=6 * size + two[0],
    )
    parts: Parts = {
        "unet": unet,
        "vae": partial(_autoencoder, small, 1024, scaling_factor=0.13025, force_upcast=True),
        "scheduler": partial(
            EulerDiscreteScheduler, **LATENT_NOISE, steps_offset=1, timestep_spacing="leading"
        ),
        "text_encoder": partial(_clip_text, CLIPTextModel, *one),
        "text_encoder_2": partial(_clip_text, CLIPTextModelWithProjection, *two),
        "tokenizer": _tokenizer,
        "tokenizer_2": _tokenizer,
    }
    more = {"force_zeros_for_empty_prompt": True}
    return {"": Folder("StableDiffusionXLPipeline", parts, more)}


def kandinsky(small: bool) -> dict[str, Folder]:
    """Return Kandinsky 2.2: a decoder of 1.3 billion weights, a prior and two encoders of CLIP."""
    scale = SHRUNK if small else REAL
    text, seen = ((64, 2), (64, 2, 2)) if small else ((1280, 32), (1664, 48, 16))
    heads, layers = (2, 2) if small else (32, 20)
    decoder: Parts = {
        "unet": partial(make_unet, scale),
        "movq": partial(make_autoencoder, scale),
        "scheduler": partial(DDPMScheduler, variance_type="fixed_small", **NOISE),
    }
    prior: Parts = {
        "prior": partial(_prior, heads, layers, scale.width),
        "text_encoder": partial(_clip_text, CLIPTextModelWithProjection, *text),
        "image_encoder": partial(_clip_vision, *seen, scale.width),
        "tokenizer": _tokenizer,
        "image_processor": CLIPImageProcessor,
        "scheduler": _PRIOR_NOISE,
    }
    return {
        "decoder": Folder("KandinskyV22Pipeline", decoder, {}),
        "prior": Folder("KandinskyV22PriorPipeline", prior, {}),
    }


def karlo(small: bool) -> dict[str, Folder]:
    """Return Karlo: a decoder of pixels, two networks that enlarge, a prior and a text encoder."""
    width, layers = (64, 2) if small else (768, 12)
    heads, deep = (2, 2) if small else (32, 20)
    wide, blocks = ((32, 64), 1) if small else ((320, 640, 960, 1280), 3)
    cross, inner = (64 if small else 1536), len(wide) - 1
    shared = {"block_out_channels": wide, "layers_per_block": blocks,
              "resnet_time_scale_shift": "scale_shift"}  # fmt: skip
    decoder = partial(
        UNet2DConditionModel,
        sample_size=16 if small else 64,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * inner),
        up_block_types=(*["SimpleCrossAttnUpBlock2D"] * inner, "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        cross_attention_dim=cross,
        attention_head_dim=32 if small else 64,
        class_embed_type="identity",
        **shared,
    )
    enlarging = partial(
        UNet2DModel,
        sample_size=64 if small else 256,
        in_channels=6,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D",) * len(wide),
        up_block_types=("ResnetUpsampleBlock2D",) * len(wide),
        add_attention=False,
        **shared,
    )
    drawing = partial(UnCLIPScheduler, prediction_type="epsilon")
    parts: Parts = {
        "decoder": decoder,
        "text_proj": partial(
            UnCLIPTextProjModel,
            clip_embeddings_dim=width,
            time_embed_dim=4 * wide[0],
            cross_attention_dim=cross,
        ),
        "super_res_first": enlarging,
        "super_res_last": enlarging,
        "prior": partial(_prior, heads, deep, width),
        "text_encoder": partial(_clip_text, CLIPTextModelWithProjection, width, layers),
        "tokenizer": _tokenizer,
        "prior_scheduler": _PRIOR_NOISE,
        "decoder_scheduler": partial(drawing, variance_type="learned_range"),
        "super_res_scheduler": partial(drawing, variance_type="fixed_small_log"),
    }
    return {"": Folder("UnCLIPPipeline", parts, {})}


MODELS: Mapping[str, Callable[[bool], dict[str, Folder]]] = {
    "Stable Diffusion 1.5": stable_diffusion,
    "SDXL": stable_diffusion_xl,
    "Kandinsky 2.2": kandinsky,
    "Karlo": karlo,
}


def save(name: str, folder: Path, *, small: bool) -> None:
    """Save a model's pipelines to a folder, each beneath its own name."""
    torch.manual_seed(0)
    for place, pipeline in MODELS[name](small).items():
        index: dict[str, Any] = {"_class_name": pipeline.pipeline, **pipeline.more}
        for part, make in pipeline.parts.items():
            made = make()
            made.save_pretrained(folder / place / part)
            index[part] = [type(made).__module__.split(".")[0], type(made).__name__]
            del made
        (folder / place / "model_index.json").write_text(json.dumps(index))


def _prior(heads: int, layers: int, width: int) -> Any:
    prior: Any = PriorTransformer(
        num_attention_heads=heads,
        attention_head_dim=64,
        num_layers=layers,
        embedding_dim=width,
        num_embeddings=77,
    )
    prior.clip_std.data.fill_(1.0)  # an untrained one is zero, and so would be every embedding
    return prior


def _autoencoder(small: bool, side: int, **told: Any) -> AutoencoderKL:
    wide = (32, 64) if small else (128, 256, 512, 512)
    return AutoencoderKL(
        block_out_channels=wide,
        down_block_types=("DownEncoderBlock2D",) * len(wide),
        up_block_types=("UpDecoderBlock2D",) * len(wide),
        layers_per_block=2,
        latent_channels=4,
        sample_size=side,
        **told,
    )


def _clip_text(kind: Any, width: int, layers: int) -> Any:
    words = _tokenizer()
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.eos_token_id,
    )
    return kind(config)


def _clip_vision(width: int, layers: int, heads: int, projection: int) -> Any:
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=8192 if layers == 48 else width,
        projection_dim=projection,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=224,
        patch_size=14,
    )
    return CLIPVisionModelWithProjection(config)


def _tokenizer() -> CLIPTokenizer:
    """Return a tokenizer of bytes: which words there are changes no size."""
    letters = sorted(ByteLevel.alphabet())
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{each}</w>" for each in letters)]
    vocabulary = {name: index for index, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


if __name__ == "__main__":
    torch.set_default_dtype(torch.bfloat16)
    save(sys.argv[1], Path(sys.argv[2]), small=sys.argv[3] == "small")
