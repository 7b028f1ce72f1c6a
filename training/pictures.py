"""The training set on disk: drawings and their attributes as two arrays.

Knows how many pictures and where they lie; knows no network. Both files are plain `.npy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.drawings import PIXELS, draw
from training.vocabulary import AXES, Attributes, indices, split_attributes

_CHUNK = 240


@dataclass(frozen=True)
class Pictures:
    """What every stage trains on; row i of each array is the same picture."""

    pixels: NDArray[np.uint8]  # (N, 64, 64, 3)
    labels: NDArray[np.int64]  # (N, 5), positions on the axes of `vocabulary.AXES`

    def attributes(self, row: int) -> Attributes:
        """Return what a row shows."""
        picked = zip(AXES.values(), self.labels[row], strict=True)
        return Attributes(*(list(axis)[int(position)] for axis, position in picked))


def pictures(folder: Path, seed: int, rounds: int, workers: int) -> Pictures:
    """Draw every combination of the training part `rounds` times, or load what was drawn.

    Rows are shuffled with `seed`, which also seeds each picture.
    """
    seen, _ = split_attributes()
    jobs = [(attributes, seed * 1000 + turn) for turn in range(rounds) for attributes in seen]
    order = np.random.default_rng(seed).permutation(len(jobs))
    return draw_all(folder, [jobs[row] for row in order], workers)


def draw_all(folder: Path, jobs: Sequence[tuple[Attributes, int]], workers: int) -> Pictures:
    """Draw each (attributes, seed) in that order into `folder`, or load what was drawn there."""
    if not (folder / "labels.npy").exists():
        _draw_all(folder, jobs, workers)
    return Pictures(
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        labels=np.load(folder / "labels.npy"),
    )


def _draw_all(folder: Path, jobs: Sequence[tuple[Attributes, int]], workers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(
        folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(jobs), PIXELS, PIXELS, 3)
    )
    chunks = [jobs[at : at + _CHUNK] for at in range(0, len(jobs), _CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        drawn = tqdm(pool.map(_draw_chunk, chunks), total=len(chunks), desc="drawings")
        for position, block in enumerate(drawn):
            pixels[position * _CHUNK : position * _CHUNK + len(block)] = block
    pixels.flush()
    # written last: its presence says that the pictures are complete
    np.save(folder / "labels.npy", np.array([indices(attributes) for attributes, _ in jobs]))


def _draw_chunk(jobs: list[tuple[Attributes, int]]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(draw(attributes, seed)) for attributes, seed in jobs])
