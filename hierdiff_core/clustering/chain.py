"""The nearest-neighbour chain: all merges of a linkage under which merging brings nothing nearer.

Overwrites the matrix that it is given, since a copy would double the memory of planning.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.distance import Matrix

Merges = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
Sizes = npt.NDArray[np.floating]
# Lance-Williams: (row a, row b, all sizes, size of a, size of b, d(a, b)) -> row of the merged one.
Update = Callable[[Matrix, Matrix, Sizes, float, float, float], Matrix]

_FOLD = 0.7  # the matrix is compacted when fewer than this part of its rows are still clusters


def merge_by_chain(matrix: Matrix, sizes: Sizes, update: Update) -> Merges:
    """Return children and heights of the merges, ascending by height.

    Follows nearest neighbours until two are mutual, merges them and continues from the rest of the
    chain (Murtagh 1983). `matrix` is symmetric with an infinite diagonal. O(N^2) time.
    """
    size = len(sizes)
    clusters = _Clusters(matrix, sizes.astype(matrix.dtype), update)
    made, heights = np.empty((size - 1, 2), dtype=np.int64), np.empty(size - 1)
    chain: list[int] = []
    for merge in range(size - 1):
        if len(clusters.slot) * _FOLD > size - merge:
            place = clusters.close_up()
            chain = [place[row] for row in chain]
        clusters.follow(chain)
        b, a = chain.pop(), chain.pop()
        made[merge] = clusters.slot[a], clusters.slot[b]
        heights[merge] = clusters.merge(a, b, size + merge)
    return _ascending(made, heights)


def fold(matrix: Matrix, keep: npt.NDArray[np.int64]) -> Matrix:
    """Return the matrix of the kept rows and columns, in the same memory."""
    for row, old in enumerate(keep):
        matrix[row, : len(keep)] = matrix[old, keep]
    return matrix[: len(keep), : len(keep)]


class _Clusters:
    """The remaining clusters; a row that was merged into another has infinite distances."""

    def __init__(self, matrix: Matrix, sizes: Sizes, update: Update) -> None:
        self.matrix, self.sizes, self.update = matrix, sizes, update
        self.slot = np.arange(len(sizes))  # each row's cluster; -1 for none
        self.heights = np.zeros(len(sizes))

    def close_up(self) -> dict[int, int]:
        """Drop rows without a cluster; return the new places of the others."""
        keep = np.flatnonzero(self.slot >= 0)
        self.matrix = fold(self.matrix, keep)
        self.slot, self.sizes = self.slot[keep], self.sizes[keep]
        self.heights = self.heights[keep]
        return dict(zip(keep.tolist(), range(len(keep)), strict=True))

    def follow(self, chain: list[int]) -> None:
        """Extend the chain until its last two are mutual nearest neighbours."""
        if not chain:
            chain.append(int(np.argmax(self.slot >= 0)))
        while True:
            row = self.matrix[chain[-1]]
            nearest = int(row.argmin())
            if len(chain) > 1 and row[chain[-2]] <= row[nearest]:
                return
            chain.append(nearest)

    def merge(self, a: int, b: int, cluster: int) -> float:
        """Make one cluster of two, in the later row; return its height."""
        gone, here = min(a, b), max(a, b)
        matrix, sizes = self.matrix, self.sizes
        distance = float(matrix[a, b])
        row = self.update(matrix[gone], matrix[here], sizes, sizes[gone], sizes[here], distance)
        row[gone] = row[here] = np.inf
        matrix[here], matrix[:, here], matrix[:, gone] = row, row, np.inf
        sizes[here] += sizes[gone]
        self.slot[gone], self.slot[here] = -1, cluster
        # Rounding may put a cluster slightly below its parts.
        self.heights[here] = max(distance, self.heights[gone], self.heights[here])
        return float(self.heights[here])


def _ascending(made: npt.NDArray[np.int64], heights: npt.NDArray[np.float64]) -> Merges:
    """Return the merges ordered and numbered by their heights."""
    size = len(made) + 1
    order = np.argsort(heights, kind="stable")
    number = np.arange(2 * size - 1)
    number[size + order] = size + np.arange(size - 1)
    return np.sort(number[made[order]], axis=1), heights[order]
