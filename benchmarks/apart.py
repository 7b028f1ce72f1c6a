"""The stock pipeline in a process of its own, set up as its users have it.

Ours tells the C library to keep the memory that it frees, which holds for a whole process: beside
it the stock pipeline would be given what its users do not have. Knows processes; what is run there
is `stock`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from diffusers import KandinskyV22Pipeline

from benchmarks.stock import Stock, make_stock
from hierdiff_core.embedding import Conditioning
from hierdiff_core.models.device import choose_device, choose_dtype
from hierdiff_core.models.folder import load_pipeline
from hierdiff_core.models.kandinsky22 import EMBEDDING, fit
from hierdiff_core.recipe import Recipe

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Where:
    """What is loaded there, and to what."""

    recipe: Recipe
    device: str
    threads: int


@dataclass(frozen=True)
class Apart:
    """The other process."""

    pool: ProcessPoolExecutor
    recipe: Recipe
    device: str
    negative: torch.Tensor
    embeds: torch.Tensor  # (N, D)
    noise: torch.Tensor  # (N, ...)

    def generate(self, batch: int) -> dict[str, float]:
        """Make all pictures there, `batch` at a time; return seconds as `Stock.generate` does."""
        where = Where(self.recipe, self.device, torch.get_num_threads())
        # As arrays: tensors would be shared through files.
        negative, embeds, noise = (
            each.numpy() for each in (self.negative, self.embeds, self.noise)
        )
        return self.pool.submit(_generate, where, negative, embeds, noise, batch).result()


@contextmanager
def open_apart(
    recipe: Recipe, device: str, negative: torch.Tensor, embeds: torch.Tensor, noise: torch.Tensor
) -> Iterator[Apart]:
    """Start the process; it ends with the block."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield Apart(pool, recipe, device, negative, embeds, noise)


def _generate(
    where: Where, negative: Array, embeds: Array, noise: Array, batch: int
) -> dict[str, float]:
    stock = _stock(where, negative.tobytes())
    _, seconds = stock.generate(torch.from_numpy(embeds), torch.from_numpy(noise), batch)
    return seconds


@cache
def _stock(where: Where, negative: bytes) -> Stock:
    torch.set_num_threads(where.threads)
    recipe, device = where.recipe, where.device
    # Not through our loader, which sets the allocator of a CPU's process.
    pipeline = load_pipeline(KandinskyV22Pipeline, recipe.model, (), choose_dtype(recipe, device))
    row = torch.frombuffer(bytearray(negative), dtype=torch.float32)[None]
    placed = pipeline.to(choose_device(device))
    return make_stock(fit(placed, recipe, Conditioning({EMBEDDING: row})), recipe.steps)
