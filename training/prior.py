"""Training of the prior: from a caption to the embedding of a picture that fits it.

Knows embeddings and captions; knows no pixels. The text encoder is frozen and runs as it does in
Kandinsky's prior pipeline; without a caption the pipeline encodes the empty text, so does this.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import PriorTransformer
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from training.clip import sentences, tokenize
from training.loop import Losses, Plan, train
from training.networks import build_prior, build_prior_scheduler
from training.pictures import Pictures

BATCH = 128
DROPPED = 0.1  # of captions that become the empty text, for guidance


@dataclass(frozen=True)
class Reader:
    """The frozen half of CLIP that reads captions."""

    tokenizer: CLIPTokenizer
    encoder: CLIPTextModelWithProjection

    @torch.no_grad()
    def read(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings (B, 128), states (B, 48, 128) and mask (B, 48)."""
        tokens = tokenize(self.tokenizer, texts)
        found = self.encoder(input_ids=tokens["input_ids"])
        return found.text_embeds, found.last_hidden_state, tokens["attention_mask"].bool()


def train_prior(
    pictures: Pictures, embeddings: Tensor, reader: Reader, plan: Plan, folder: Path, seed: int
) -> PriorTransformer:
    """Train on embeddings (N, 128) of the pictures, standardised per number."""
    torch.manual_seed(seed)
    model = build_prior()
    model.clip_mean.data.copy_(embeddings.mean(0, keepdim=True))
    model.clip_std.data.copy_(embeddings.std(0, keepdim=True))
    model.clip_mean.requires_grad_(False)
    model.clip_std.requires_grad_(False)
    wanted = (embeddings - model.clip_mean) / model.clip_std
    scheduler = build_prior_scheduler()

    def losses(generator: torch.Generator) -> Losses:
        rows = torch.randint(len(embeddings), (BATCH,), generator=generator)
        texts = sentences(pictures, rows.numpy(), generator)
        kept = torch.rand(BATCH, generator=generator) >= DROPPED
        read = reader.read([text if keep else "" for text, keep in zip(texts, kept, strict=True)])
        times = spread_times(BATCH, generator)
        noise = torch.randn(wanted[rows].shape, generator=generator)
        noisy = scheduler.add_noise(wanted[rows], noise, times)
        found = model(noisy, times, read[0], read[1], read[2]).predicted_image_embedding
        return {"loss": functional.mse_loss(found, wanted[rows])}

    train("prior", model, losses, plan, folder, seed)
    return model


def spread_times(count: int, generator: torch.Generator) -> Tensor:
    """Draw one time step from each of `count` equal parts of 0..999: less noise in the loss."""
    parts = torch.arange(count) + torch.rand(count, generator=generator)
    return (parts * 1000 / count).long().clamp(max=999)
