"""Writes the two folders that the stock pipelines load.

Knows file layout and precision; trains nothing.
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UNet2DConditionModel,
    VQModel,
)
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from training import networks


@dataclass(frozen=True)
class Parts:
    """Everything that two folders are made of."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModelWithProjection
    image_encoder: CLIPVisionModelWithProjection
    prior: PriorTransformer
    unet: UNet2DConditionModel
    autoencoder: VQModel


def export(parts: Parts, folder: Path) -> None:
    """Write `folder/prior` and `folder/decoder` in half precision, replacing what is there.

    Each is written beside its place and then renamed, so a reader never meets half a folder.
    """
    pipelines = {"prior": prior_pipeline(parts), "decoder": decoder_pipeline(parts)}
    for name, pipeline in pipelines.items():
        fresh, place = folder / f".{name}.new", folder / name
        shutil.rmtree(fresh, ignore_errors=True)
        halved = copy.deepcopy(pipeline).to(torch.float16)
        halved.save_pretrained(fresh, safe_serialization=True)
        _ask_for_single_precision(fresh)
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)


def _ask_for_single_precision(folder: Path) -> None:
    """Let transformers load its halves as float32, as diffusers does by itself.

    Otherwise `from_pretrained(folder)` without a type would mix half and single precision.
    """
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        if "dtype" in config:
            path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")


def prior_pipeline(parts: Parts) -> KandinskyV22PriorPipeline:
    """Return the stock pipeline from text to picture embedding."""
    return KandinskyV22PriorPipeline(
        prior=parts.prior,
        image_encoder=parts.image_encoder,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        scheduler=networks.build_prior_scheduler(),
        image_processor=networks.build_image_processor(),
    )


def decoder_pipeline(parts: Parts) -> KandinskyV22Pipeline:
    """Return the stock pipeline from picture embedding to picture."""
    return KandinskyV22Pipeline(
        unet=parts.unet,
        scheduler=networks.build_decoder_scheduler(),
        movq=parts.autoencoder,
    )
