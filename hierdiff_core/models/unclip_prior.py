"""The prior of unCLIP (Ramesh et al. 2022, section 2.2): from text to the embedding of a picture.

Karlo and Stable unCLIP each have one in their folder. It samples, so each prompt has a generator of
its own, seeded by its embedding key.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from hierdiff_core.embedding import Conditioning, Embedding
from hierdiff_core.models.families import Option
from hierdiff_core.models.text import equal_calls
from hierdiff_core.models.text_side import BATCH, on_cpu, part
from hierdiff_core.noise import generator
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import Recipe

PRIOR = (
    # UnCLIP's scheduler divides by one less than its steps.
    Option("prior_steps", 25, "steps of the prior's own sampler", least=2, text=True),
    Option("prior_guidance", 4.0, "guidance of the prior's own sampler", least=0, text=True),
)

# Takes prompts and their generators; returns vectors (B, D) and tensors (B, ...) by slot.
Encode = Callable[
    [Sequence[Prompt], Sequence[torch.Generator]], tuple[torch.Tensor, Mapping[str, torch.Tensor]]
]


@dataclass(frozen=True)
class PriorSide:
    """An Encoder whose embeddings are drawn."""

    pipeline: Any
    encode: Encode
    negative: Callable[[Recipe], Mapping[str, torch.Tensor]]
    embed_pictures: None = None  # its folder has no encoder of pictures

    @torch.no_grad()
    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """See Encoder."""
        rows: list[Embedding] = []
        for call, count in equal_calls(prompts, BATCH):
            draws = [generator(f"prior/{embedding_key(prompt)}") for prompt in call]
            rows += part(*self.encode(call, draws))[:count]
        return rows

    @torch.no_grad()
    def embed_negative(self, recipe: Recipe) -> Conditioning:
        """See Encoder."""
        return Conditioning(on_cpu(self.negative(recipe)))


@dataclass(frozen=True)
class Words:
    """Texts as CLIP reads them."""

    pooled: torch.Tensor  # (B, D)
    states: torch.Tensor  # (B, L, D)
    mask: torch.Tensor  # (B, L), of tokens that are no padding


@dataclass(frozen=True)
class TextPrior:
    """A prior and the text encoder that it reads."""

    tokenizer: Any
    text_encoder: Any
    network: Any  # PriorTransformer
    scheduler: Any
    names_next: bool  # whether its sampler tells the scheduler which timestep comes next

    def read(self, texts: list[str]) -> Words:
        """Return what CLIP makes of texts; padding is read too, and masked for the prior."""
        read = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        device = self.text_encoder.device
        found = self.text_encoder(read.input_ids.to(device))
        mask = read.attention_mask.bool().to(device)
        return Words(found.text_embeds, found.last_hidden_state, mask)

    def sample(
        self, words: Words, draws: Sequence[torch.Generator], recipe: Recipe
    ) -> torch.Tensor:
        """Return picture embeddings (B, D) of texts, guided away from no words."""
        scale, scheduler = recipe.option("prior_guidance"), self.scheduler
        empty = self.read([""] * len(draws)) if scale > 1 else None
        scheduler.set_timesteps(recipe.option("prior_steps"), device=words.pooled.device)
        timesteps = scheduler.timesteps
        rows = self._noise(words, draws) * scheduler.init_noise_sigma
        for timestep, following in zip(timesteps, [*timesteps[1:], None], strict=True):
            scaled = scheduler.scale_model_input(rows, timestep)
            predicted = self._predict(scaled, timestep, words)
            if empty is not None:
                plain = self._predict(scaled, timestep, empty)
                predicted = plain + scale * (predicted - plain)
            told: dict[str, Any] = {"prev_timestep": following} if self.names_next else {}
            if "generator" in inspect.signature(scheduler.step).parameters:
                told["generator"] = list(draws)
            rows = scheduler.step(predicted, timestep, rows, **told).prev_sample
        embeddings: torch.Tensor = self.network.post_process_latents(rows)
        return embeddings

    def _noise(self, words: Words, draws: Sequence[torch.Generator]) -> torch.Tensor:
        shape = (len(draws), self.network.config.embedding_dim)
        device, dtype = words.pooled.device, words.pooled.dtype
        return randn_tensor(shape, generator=list(draws), device=device, dtype=dtype)

    def _predict(self, rows: torch.Tensor, timestep: torch.Tensor, words: Words) -> torch.Tensor:
        predicted: torch.Tensor = self.network(
            rows,
            timestep=timestep,
            proj_embedding=words.pooled,
            encoder_hidden_states=words.states,
            attention_mask=words.mask,
        ).predicted_image_embedding
        return predicted
