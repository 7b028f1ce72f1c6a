"""A process that embeds, plans or steers with embeddings of FLUX's width, and says what it took.

Usage: python -m benchmarks.large_embeddings PHASE PROMPTS TOKENS WIDTH

Its encoder is a stand-in that draws numbers in bfloat16; stores are those of HIERDIFF_HOME.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sqlalchemy import text

from flows.quiet import quiet_libraries
from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning, Embedding
from hierdiff_core.models.loaded import Models
from hierdiff_core.noise import generator
from hierdiff_core.plan import Plan
from hierdiff_core.planners import cut_by_tau
from hierdiff_core.prompt import Prompt, embedding_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.streamed import StreamedConditioning
from tasks.embed import LedgerCache, embed_prompts, read_conditionings
from tasks.settings import read_settings
from tasks.stores import Stores, open_stores

SLOTS = 16
STEPS = 28
POOLED = 768
RECIPE = Recipe("stable_diffusion", "stand-in", "ddim", STEPS, 3.5, 1024, 1024, "1", "1")


@dataclass(frozen=True)
class StandIn:
    """A text side that reads nothing: prompts in groups, so that they make a tree."""

    tokens: int
    width: int
    embed_pictures: None = None

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """See Encoder."""
        return [self._make(prompt.text) for prompt in prompts]

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        """See Encoder."""
        return self._make("0").conditioning

    def _make(self, name: str) -> Embedding:
        number = int(name)
        levels = ((number // 64, 1.0), (number // 8, 0.7), (number, 0.5))
        pooled = sum(
            share * torch.randn(1, POOLED, generator=generator(f"{share}/{place}"))
            for place, share in levels
        )
        drawn = torch.randn(1, self.tokens, self.width, generator=generator(name))
        tensors = {"prompt_embeds": drawn.bfloat16().float(), "pooled": torch.as_tensor(pooled)}
        return Embedding(tensors["pooled"][0].numpy(), Conditioning(tensors))


@dataclass
class StandInModels(Models):
    """Models whose text side is a stand-in."""

    stand_in: Any = None

    def encoder(self, recipe: Recipe) -> Any:
        """Return the stand-in."""
        return self.stand_in


def embed(stores: Stores, prompts: Sequence[Prompt], encoder: StandIn) -> dict[str, float]:
    """Embed and keep; return the bytes in both stores."""
    embed_prompts(stores, prompts, StandInModels(stand_in=encoder))
    with stores.session() as session:
        session.execute(text("ANALYZE embeddings"))
        ledger = session.execute(text("SELECT pg_total_relation_size('embeddings')")).scalar_one()
    pages = stores.bucket.pages("embeddings/")
    return {"ledger": ledger, "bucket": sum(each.bytes for page in pages for each in page)}


def plan(stores: Stores, prompts: Sequence[Prompt], encoder: StandIn) -> dict[str, float]:
    """Read the vectors and plan at half saving."""
    made = _plan(stores, prompts)
    return {"evaluations": made.evaluations, "segments": len(made.segments)}


def steer(stores: Stores, prompts: Sequence[Prompt], encoder: StandIn) -> dict[str, float]:
    """Make the mean of every cluster of the plan, in as many slots as a worker has."""
    made, read = _plan(stores, prompts), 0

    def fetch(keys: Sequence[str]) -> Mapping[str, Conditioning]:
        nonlocal read
        read += len(keys)
        return read_conditionings(stores, keys)

    keys = [embedding_key(prompt) for prompt in prompts]
    members = StreamedConditioning(keys, fetch, range(len(keys)))
    blank = members.blank().tensors
    slots = {name: each.new_zeros(SLOTS, *each.shape[1:]) for name, each in blank.items()}
    for segment in made.segments:
        mean = members.mean(made.founders(segment))
        for name, tensor in mean.tensors.items():
            slots[name][segment.id % SLOTS] = tensor[0]
    return {"read": read, "segments": len(made.segments)}


def _plan(stores: Stores, prompts: Sequence[Prompt]) -> Plan:
    keys = [embedding_key(prompt) for prompt in prompts]
    found = LedgerCache(stores).vectors(keys)
    tree = build_tree(np.stack([found[key] for key in keys]), "average", keys)
    return cut_by_tau([tree], STEPS, Budget(0.5), 0.0)[0].plan


PHASES: Mapping[str, Callable[[Stores, Sequence[Prompt], StandIn], dict[str, float]]] = {
    "embed": embed,
    "plan": plan,
    "steer": steer,
}


def main(phase: str, count: str, tokens: str, width: str) -> None:
    """Run one phase and print its figures as JSON."""
    quiet_libraries()
    prompts = [Prompt(row, str(row), str(row), RECIPE) for row in range(int(count))]
    with open_stores(read_settings()) as stores:
        before, began = _peak(), time.monotonic()
        found = PHASES[phase](stores, prompts, StandIn(int(tokens), int(width)))
        seconds = time.monotonic() - began
    print(json.dumps({**found, "seconds": seconds, "before": before, "peak": _peak()}))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
