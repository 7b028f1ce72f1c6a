"""Classifier-free guidance (Ho and Salimans 2021): c steered away from u, in one call for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from hierdiff_core.recipe import Recipe

# Takes latents (B, ...), timesteps (B,), conditioning (B, ...); returns (B, C or 2C, ...).
Network = Callable[[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]


def guided_forwards(recipe: Recipe) -> tuple[int, ...]:
    """Return the forward passes of the network per row at each step (K,): 2 for a guided pair."""
    return (2 if _is_guided(recipe.guidance) else 1,) * recipe.evaluations


def guide(
    network: Network,
    guidance: float,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    conditioning: Mapping[str, torch.Tensor],
    negative: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """Return u + g (c - u), with the conditional half's variance behind it where there is one.

    `negative` has one row. A guidance of 1 or less is the conditional prediction alone.
    """
    if not _is_guided(guidance):
        return network(latents, timesteps, conditioning)
    pair = {
        name: torch.cat([negative[name].to(each.device).expand_as(each), each])
        for name, each in conditioning.items()
    }
    both = network(torch.cat([latents, latents]), timesteps.repeat(2), pair)
    unconditional, conditional = both.chunk(2)
    channels = latents.shape[1]
    u, c = unconditional[:, :channels], conditional[:, :channels]
    return torch.cat([u + guidance * (c - u), conditional[:, channels:]], dim=1)


def _is_guided(guidance: float) -> bool:
    return guidance > 1
