"""Noise: every draw is a function of a seed, a key and a step, and of nothing else.

Batches, devices and the order of work do not enter, so a resumed run draws what the undisturbed run
drew.
"""

from __future__ import annotations

import hashlib

import torch


def initial_noise(seed: int, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return x_T ~ N(0, I) of a root, float32 on the CPU."""
    return _draw(f"{seed}/{key}/initial", shape)


def step_noise(seed: int, key: str, step: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the noise for the node with this content key at this step (from 0)."""
    return _draw(f"{seed}/{key}/{step}", shape)


def generator(name: str) -> torch.Generator:
    """Return a fresh CPU generator, seeded by the name's SHA-256; torch uses 32 of the bits."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    return torch.Generator("cpu").manual_seed(seed)


def _draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=generator(name), dtype=torch.float32)
