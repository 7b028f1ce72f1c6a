"""Encoders of pictures: vectors by which pictures are compared, whatever made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoImageProcessor,
    CLIPVisionModelWithProjection,
    SiglipVisionModel,
)

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.judges.attributes import load_attribute_judge
from hierdiff_core.judges.pretrained import is_pipeline, load_network, load_pretrained
from hierdiff_core.models.device import choose_device
from hierdiff_core.models.family import EmbedPictures

_HINT = "use clip:FOLDER_OR_NAME, siglip:FOLDER_OR_NAME, attributes or attributes:FOLDER"


def load_picture_encoder(name: str, device: str = "auto") -> EmbedPictures:
    """Return what maps pictures (B, H, W, 3) to vectors (B, E), by its kind and, after `:`, model.

    `clip` and `siglip` take a folder or hub name, of the whole model or of its half for pictures,
    and make unit vectors; `attributes` are the features of the miniature's judge, for pictures of
    64 x 64 pixels. Raises InvalidSetting for another name, UnknownModel.
    """
    kind, _, model = name.partition(":")
    if kind == "attributes":
        judge = load_attribute_judge(Path(model)) if model else load_attribute_judge()
        return lambda pictures: judge.features(pictures).astype(np.float32)
    if kind not in _KINDS or not model:
        raise InvalidSetting(setting="picture_encoder", value=name, hint=_HINT)
    return _KINDS[kind](model, choose_device(device))


def _load_clip(model: str, device: torch.device) -> EmbedPictures:
    # Kandinsky's prior has the half of a CLIP that sees beside its own parts.
    inside = is_pipeline(model)
    network = load_network(
        CLIPVisionModelWithProjection, model, device, **_part(inside, "image_encoder")
    )
    processor = load_pretrained(AutoImageProcessor, model, **_part(inside, "image_processor"))
    return partial(_embed, processor, network, lambda seen: seen.image_embeds)


def _load_siglip(model: str, device: torch.device) -> EmbedPictures:
    network = load_network(SiglipVisionModel, model, device)
    processor = load_pretrained(AutoImageProcessor, model)
    return partial(_embed, processor, network, lambda seen: seen.pooler_output)


_KINDS: Mapping[str, Callable[[str, torch.device], EmbedPictures]] = {
    "clip": _load_clip,
    "siglip": _load_siglip,
}


def _part(inside: bool, part: str) -> dict[str, str]:
    return {"subfolder": part} if inside else {}


@torch.no_grad()
def _embed(
    processor: Any, network: Any, read: Callable[[Any], torch.Tensor], pictures: NDArray[np.uint8]
) -> NDArray[np.float32]:
    images = [Image.fromarray(each) for each in pictures]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    vectors = read(network(pixel_values=pixels.to(network.device, network.dtype))).float()
    return np.asarray(torch.nn.functional.normalize(vectors, dim=1).cpu().numpy())
