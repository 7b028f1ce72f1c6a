"""Packing: latents as tokens of two by two, as flow transformers take them."""

from __future__ import annotations

import torch


def unpack_latents(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return latents (B, C, 2 height, 2 width) of tokens (B, height x width, 4 C)."""
    rows, _, wide = tokens.shape
    grid = tokens.view(rows, height, width, wide // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(rows, wide // 4, 2 * height, 2 * width)


def unpatch_latents(latents: torch.Tensor) -> torch.Tensor:
    """Return latents (B, C, 2 h, 2 w) of latents (B, 4 C, h, w)."""
    rows, wide, height, width = latents.shape
    grid = latents.reshape(rows, wide // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return grid.reshape(rows, wide // 4, 2 * height, 2 * width)


def grid_of(height: int, width: int, side: int) -> tuple[int, int]:
    """Return the rows and columns of tokens of a picture, `side` pixels each."""
    return height // side, width // side
