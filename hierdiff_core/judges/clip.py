"""CLIP score and CLIP diversity.

Reads a CLIP as transformers saves it whole, or its two halves from the folder of Kandinsky's prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.pretrained import is_pipeline, load_network, load_pretrained
from hierdiff_core.models.device import choose_device

_BATCH = 64
_FEWEST = 2  # pictures that make a pair


@dataclass(frozen=True)
class ClipScore:
    """Both halves of a CLIP, loaded."""

    tokenizer: Any
    text_encoder: Any  # CLIPTextModelWithProjection
    image_processor: Any
    image_encoder: Any  # CLIPVisionModelWithProjection
    name: str = "clip"

    def scores(self, pictures: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return max(100 cos(picture, prompt), 0), (B,).

        CLIPScore of Hessel et al. (2021) with w = 100, as is usual for generated pictures, in place
        of their 2.5, and without their prefix "A photo depicts". A prompt longer than the text
        encoder reads is cut off.
        """
        alike = self.embed_pictures(pictures) * self.embed_texts(prompts)
        return np.maximum(100 * alike.sum(1), 0)

    def diversity(self, pictures: NDArray[np.uint8]) -> float:
        """Return the mean cosine similarity of all pairs of pictures; lower is more diverse.

        The paper takes 100 pictures drawn at random from each set. Raises InvalidSetting for fewer
        than two.
        """
        count = len(pictures)
        if count < _FEWEST:
            hint = f"diversity needs at least {_FEWEST} pictures"
            raise InvalidSetting(setting="pictures", value=count, hint=hint)
        total = self.embed_pictures(pictures).sum(0)
        return float((total @ total - count) / (count * (count - 1)))

    @torch.no_grad()
    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return unit rows, (B, E)."""
        rows = []
        for at in range(0, len(pictures), _BATCH):
            images = [Image.fromarray(picture) for picture in pictures[at : at + _BATCH]]
            seen = self.image_processor(images=images, return_tensors="pt")
            encoder = self.image_encoder
            values = seen["pixel_values"].to(encoder.device, encoder.dtype)
            rows.append(encoder(pixel_values=values).image_embeds)
        return _unit(rows)

    @torch.no_grad()
    def embed_texts(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return unit rows, (B, E)."""
        rows = []
        encoder = self.text_encoder
        for at in range(0, len(prompts), _BATCH):
            read = self.tokenizer(
                list(prompts[at : at + _BATCH]),
                padding="max_length",
                max_length=encoder.config.max_position_embeddings,
                truncation=True,
                return_tensors="pt",
            ).to(encoder.device)
            found = encoder(input_ids=read.input_ids, attention_mask=read.attention_mask)
            rows.append(found.text_embeds)
        return _unit(rows)


def load_clip(model: str, device: str = "auto") -> ClipScore:
    """Return the CLIP of a folder or hub name: a CLIPModel's, or a Kandinsky prior's.

    The miniature's own is `hierdiff/miniature-prior`. Raises UnknownModel.
    """
    where = choose_device(device)
    inside = is_pipeline(model)
    # the two halves of a CLIPModel do not always repeat the size of their shared embedding
    options = {} if inside else {"projection_dim": _shared_size(model)}

    def place(part: str) -> dict[str, str]:
        return {"subfolder": part} if inside else {}

    return ClipScore(
        load_pretrained(AutoTokenizer, model, **place("tokenizer")),
        load_network(CLIPTextModelWithProjection, model, where, **place("text_encoder"), **options),
        load_pretrained(CLIPImageProcessor, model, **place("image_processor")),
        load_network(
            CLIPVisionModelWithProjection, model, where, **place("image_encoder"), **options
        ),
    )


def _shared_size(model: str) -> int:
    config = load_pretrained(AutoConfig, model)
    if config.model_type != "clip":
        hint = f"it is a {config.model_type}; name a CLIP model or a folder of Kandinsky's prior"
        raise UnknownModel(model=model, hint=hint)
    return int(config.projection_dim)


def _unit(rows: list[torch.Tensor]) -> NDArray[np.float64]:
    vectors = torch.cat(rows).double().cpu().numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
