"""Training of the two CLIP halves: a caption and its picture share an embedding.

Knows pictures, captions and the tokenizer; the heads that help it are thrown away afterwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from training.autoencoder import as_input
from training.captions import caption
from training.loop import Losses, Plan, train
from training.networks import EMBEDDING, build_image_encoder, build_text_encoder
from training.pictures import Pictures
from training.tokenizer import MAX_TOKENS
from training.vocabulary import AXES

BATCH = 128
TEMPERATURE = 0.07
PLAIN_SHARE = 0.1  # of captions that are the plain sentence


class Clip(nn.Module):
    """Both encoders, and one linear head per attribute on the shared embedding."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text = build_text_encoder(
            len(tokenizer), int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
        )
        self.image = build_image_encoder()
        self.heads = nn.ModuleList(nn.Linear(EMBEDDING, len(axis)) for axis in AXES.values())


def train_clip(
    pictures: Pictures, tokenizer: CLIPTokenizer, plan: Plan, folder: Path, seed: int
) -> tuple[CLIPTextModelWithProjection, CLIPVisionModelWithProjection]:
    """Train contrastively, with the attributes' cross-entropy as a shortcut to what matters."""
    torch.manual_seed(seed)
    model = Clip(tokenizer)

    def losses(generator: torch.Generator) -> Losses:
        rows = torch.randint(len(pictures.labels), (BATCH,), generator=generator).numpy()
        pixels = as_input(pictures.pixels[rows])
        pixels += 0.05 * torch.randn(pixels.shape, generator=generator)
        tokens = tokenize(tokenizer, sentences(pictures, rows, generator))
        return _losses(model, pixels, tokens, torch.from_numpy(pictures.labels[rows]))

    train("clip", model, losses, plan, folder, seed)
    return model.text, model.image


def sentences(pictures: Pictures, rows: NDArray[np.int64], generator: torch.Generator) -> list[str]:
    """Return a freshly phrased caption for each row; a tenth are the plain sentence."""
    seeds = torch.randint(1, 2**31, (len(rows),), generator=generator)
    seeds *= torch.rand(len(rows), generator=generator) >= PLAIN_SHARE
    return [
        caption(pictures.attributes(int(row)), int(seed))
        for row, seed in zip(rows, seeds, strict=True)
    ]


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> dict[str, Tensor]:
    """Return ids and mask, (B, 48) each, as Kandinsky's prior pipeline makes them."""
    found = tokenizer(
        texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    return {"input_ids": found.input_ids, "attention_mask": found.attention_mask}


def _losses(model: Clip, pixels: Tensor, tokens: dict[str, Tensor], labels: Tensor) -> Losses:
    images = model.image(pixel_values=pixels).image_embeds
    texts = model.text(input_ids=tokens["input_ids"]).text_embeds
    alike = functional.normalize(images) @ functional.normalize(texts).T / TEMPERATURE
    same = torch.arange(len(labels))
    contrast = (functional.cross_entropy(alike, same) + functional.cross_entropy(alike.T, same)) / 2
    seen, read, right = _attributes(model, images, texts, labels)
    # embeddings of length about 11, so that each of the 128 numbers has deviation about 1
    length = sum(((rows.square().mean(1) - 1) ** 2).mean() for rows in (images, texts))
    loss = contrast + seen + read + 0.1 * length
    found = {"loss": loss, "contrast": contrast, "seen": seen, "read": read}
    return found | {f"right_{axis}": share for axis, share in zip(AXES, right, strict=True)}


def _attributes(
    model: Clip, images: Tensor, texts: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    seen, read, right = torch.zeros(()), torch.zeros(()), []
    for head, wanted in zip(model.heads, labels.T, strict=True):
        guesses = head(images)
        seen = seen + functional.cross_entropy(guesses, wanted) / len(AXES)
        read = read + functional.cross_entropy(head(texts), wanted) / len(AXES)
        right.append((guesses.argmax(1) == wanted).float().mean())
    return seen, read, right
