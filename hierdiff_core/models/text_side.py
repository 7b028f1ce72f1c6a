"""The text side that most families share: prompts are encoded in calls of one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hierdiff_core.embedding import Conditioning, Embedding
from hierdiff_core.models.text import equal_calls
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

# Of one call, so that an embedding does not depend on company.
BATCH = 8

# Takes B texts and their recipe; returns their vectors (B, D) and tensors (B, ...) by slot.
Encode = Callable[[list[str], Recipe], tuple[torch.Tensor, Mapping[str, torch.Tensor]]]


@dataclass(frozen=True)
class TextSide:
    """An Encoder that makes embeddings of texts alone."""

    pipeline: Any
    encode: Encode
    # The conditioning of a recipe's negative prompt, where it is not made as a prompt's.
    negative: Callable[[Recipe], Mapping[str, torch.Tensor]] | None = None
    embed_pictures: None = None  # no picture is embedded where prompts are

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """See Encoder."""
        return (
            self._encode([prompt.text for prompt in prompts], prompts[0].recipe) if prompts else []
        )

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        """See Encoder."""
        if self.negative is not None:
            with torch.no_grad():
                made = self.negative(recipe)
            return Conditioning(on_cpu(made))
        return self._encode([recipe.negative_prompt], recipe)[0].conditioning

    @torch.no_grad()
    def _encode(self, texts: list[str], recipe: Recipe) -> list[Embedding]:
        rows: list[Embedding] = []
        for call, count in equal_calls(texts, BATCH):
            rows += part(*self.encode(call, recipe))[:count]
        return rows


def part(vectors: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> list[Embedding]:
    """Return the embeddings of a call, of vectors (B, D) and tensors (B, ...)."""
    places, kept = vectors.float().cpu().numpy(), on_cpu(tensors)
    return [
        Embedding(
            place.copy(),
            Conditioning({name: each[row : row + 1].clone() for name, each in kept.items()}),
        )
        for row, place in enumerate(places)
    ]


def last_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the states (B, D) of each row's last valid token, of states (B, L, D) and mask (B, L).

    Of a causal encoder it is the one that has seen every word.
    """
    places = torch.arange(mask.shape[1], device=mask.device)
    ends = torch.where(mask.bool(), places, -1).amax(dim=1)
    return states[torch.arange(len(states), device=states.device), ends.to(states.device)]


def mean_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean (B, D) of each row's valid tokens, where no token has seen them all."""
    valid = mask.to(states.device).unsqueeze(-1).float()
    return (states.float() * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1)


def on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors as embeddings hold them: numbers in float32, masks as they are."""
    return {
        name: (each.float() if each.is_floating_point() else each).cpu()
        for name, each in tensors.items()
    }
