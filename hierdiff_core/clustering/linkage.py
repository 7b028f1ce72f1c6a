"""Linkages: which two clusters merge next, and at what distance.

A linkage maps (N, D) vectors, N >= 2, to children (N-1, 2) and heights (N-1,): merge i makes
cluster N + i. Where rows are given in groups (`starts`, as in `distance`), each group is a leaf
that weighs as much as its rows. All take O(N^2) memory, one matrix of the vectors' own type, and
about O(N^2) time after the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hierdiff_core.clustering.chain import Merges, Sizes, fold, merge_by_chain
from hierdiff_core.clustering.distance import (
    Matrix,
    Starts,
    Vectors,
    average_matrix,
    centroid_matrix,
    ward_matrix,
)


class Merge(Protocol):
    """A function from rows, possibly in groups, to merges."""

    def __call__(self, vectors: Vectors, starts: Starts | None = None) -> Merges:
        """Return children and heights."""


# (<sum a, sum b>, <sum a, sum a>, <sum b, sum b>, size of a, size of b) -> heights of the pairs.
Height = Callable[[Sizes, Sizes, Sizes, Sizes, Sizes], Sizes]


@dataclass(frozen=True)
class Linkage:
    """A linkage over all pairs (`merge`), and over chosen pairs (`height`)."""

    merge: Merge
    height: Height
    normalises: bool  # sums are those of unit vectors


def merge_by_ward(vectors: Vectors, starts: Starts | None = None) -> Merges:
    """Ward's criterion on pairwise cosine distances, as in the authors' published code.

    Heights grow with the size of clusters, so a tau belongs to this linkage alone. The code cuts
    its trees by linspace(tau, 0, K), `schedule` by the paper's phi(k) = tau (1 - k/K).
    """
    starts = _each_row(vectors) if starts is None else starts
    sizes = np.diff(starts, append=len(vectors))
    children, heights = merge_by_chain(ward_matrix(vectors, starts), sizes, _ward_row)
    return children, np.sqrt(heights)


def merge_by_average(vectors: Vectors, starts: Starts | None = None) -> Merges:
    """Mean cosine distance between members (UPGMA): 1 - <mean unit a, mean unit b>."""
    starts = _each_row(vectors) if starts is None else starts
    sizes = np.diff(starts, append=len(vectors))
    return merge_by_chain(average_matrix(vectors, starts), sizes, _average_row)


def merge_by_centroid(vectors: Vectors, starts: Starts | None = None) -> Merges:
    """Cosine distance of the clusters' mean embeddings (Eq. 3-4), exact.

    Works on the Gram matrix of cluster sums: G[ab, x] = G[a, x] + G[b, x], and
    d(a, b) = 1 - G[a, b] / sqrt(G[a, a] G[b, b]), which scaling a sum to a mean does not change.
    Muellner's generic algorithm keeps each cluster's nearest later neighbour as a lower bound.
    Heights may fall (inversions).
    """
    starts = _each_row(vectors) if starts is None else starts
    size = len(starts)
    nearest = _Nearest(centroid_matrix(vectors, starts))
    children, heights = np.empty((size - 1, 2), dtype=np.int64), np.empty(size - 1)
    for merge in range(size - 1):
        nearest.close_up(size - merge)
        a, b, heights[merge] = nearest.closest_pair()
        children[merge] = sorted((nearest.slot[a], nearest.slot[b]))
        nearest.merge(a, b, size + merge)
    return children, heights


def _each_row(vectors: Vectors) -> Starts:
    return np.arange(len(vectors))


def _ward_row(a: Matrix, b: Matrix, sizes: Sizes, m: float, n: float, distance: float) -> Matrix:
    """Lance and Williams' update for Ward's squared distances."""
    row = (sizes + m) * a
    row += (sizes + n) * b
    row -= sizes * sizes.dtype.type(distance)
    row /= sizes + (m + n)
    return row


def _average_row(a: Matrix, b: Matrix, sizes: Sizes, m: float, n: float, distance: float) -> Matrix:
    return np.asarray((m * a + n * b) / (m + n))


# The matrix is compacted when fewer than this part of its rows are still clusters.
_FOLD = 0.7


class _Nearest:
    """For each live row a, its nearest live row b > a; `distance` never exceeds the true one.

    A row that is no longer a cluster has an infinite distance to every other.
    """

    def __init__(self, gram: Matrix) -> None:
        size = len(gram)
        self.gram = gram
        self.slot = np.arange(size)  # each row's cluster; -1 for none
        self.inverse_norm = _inverse_norm(np.diagonal(gram))
        self.barred = np.zeros(size, dtype=gram.dtype)  # infinite where there is no cluster
        self.neighbour = np.full(size, size)
        self.distance = np.full(size, np.inf)
        self.stale = np.zeros(size, dtype=bool)  # the neighbour is gone or has moved away
        for row in range(size - 1):
            self._search(row)

    def close_up(self, left: int) -> None:
        """Drop rows without a cluster, once they are many."""
        if len(self.slot) * _FOLD <= left:
            return
        keep = np.flatnonzero(self.slot >= 0)
        place = np.full(len(self.slot) + 1, len(keep))
        place[keep] = np.arange(len(keep))
        self.gram = fold(self.gram, keep)
        self.neighbour = place[self.neighbour[keep]]
        for name in ("slot", "inverse_norm", "barred", "distance", "stale"):
            setattr(self, name, getattr(self, name)[keep])

    def closest_pair(self) -> tuple[int, int, float]:
        """Return the closest two live rows a < b and their distance."""
        row = int(self.distance.argmin())
        while self.stale[row]:
            self._search(row)
            row = int(self.distance.argmin())
        return row, int(self.neighbour[row]), max(0.0, float(self.distance[row]))

    def merge(self, gone: int, grown: int, cluster: int) -> None:
        """Add row `gone` to row `grown`, which is `cluster` from now on."""
        gram = self.gram
        gram[grown] += gram[gone]
        gram[grown, grown] += gram[grown, gone]
        gram[:, grown] = gram[grown]
        self.slot[gone], self.slot[grown] = -1, cluster
        self.barred[gone], self.distance[gone] = np.inf, np.inf
        self.inverse_norm[grown] = _inverse_norm(gram[grown, grown])
        # The others were no nearer than the lost neighbour, so its distance is still a lower
        # bound: the search can wait until such a row has the smallest distance.
        self.stale |= (self.neighbour == gone) | (self.neighbour == grown)
        distances = self._distances(grown, slice(0, grown))
        rows = np.flatnonzero(distances < self.distance[:grown])
        self.distance[rows], self.neighbour[rows] = distances[rows], grown
        self.stale[rows] = False
        self._search(grown)

    def _search(self, row: int) -> None:
        self.stale[row] = False
        distances = self._distances(row, slice(row + 1, None))
        best = int(distances.argmin()) if len(distances) else -1
        self.distance[row] = distances[best] if best >= 0 else np.inf
        self.neighbour[row] = row + 1 + best

    def _distances(self, row: int, others: slice) -> Matrix:
        distances = self.gram[row, others] * self.inverse_norm[others]
        distances *= -self.inverse_norm[row]
        distances += 1
        distances += self.barred[others]
        return np.asarray(distances)


def _inverse_norm(squared: Matrix) -> Matrix:
    # Opposite embeddings may sum to zero; such a mean is at distance 1 from everything.
    return np.asarray(1 / np.sqrt(np.maximum(squared, np.finfo(squared.dtype).tiny)))


def _ward_height(products: Sizes, aa: Sizes, bb: Sizes, m: Sizes, n: Sizes) -> Sizes:
    """Ward's distance if all pairs between two clusters, or within one, had their mean distance."""
    apart = (1 - products / (m * n)) ** 2
    spread = 2 * apart - _within(aa, m) - _within(bb, n)
    return np.sqrt(np.maximum(spread * m * n / (m + n), 0))


def _within(square: Sizes, size: Sizes) -> Sizes:
    # The mean over pairs that include a row with itself is (m - 1) / m of that over different rows.
    return np.asarray((1 - square / size**2) ** 2 * size / np.maximum(size - 1, 1))


def _average_height(products: Sizes, aa: Sizes, bb: Sizes, m: Sizes, n: Sizes) -> Sizes:
    return np.maximum(1 - products / (m * n), 0)


def _centroid_height(products: Sizes, aa: Sizes, bb: Sizes, m: Sizes, n: Sizes) -> Sizes:
    return np.maximum(1 - products * _inverse_norm(aa) * _inverse_norm(bb), 0)


LINKAGES: Mapping[str, Linkage] = {
    "ward": Linkage(merge_by_ward, _ward_height, normalises=True),
    "average": Linkage(merge_by_average, _average_height, normalises=True),
    "centroid": Linkage(merge_by_centroid, _centroid_height, normalises=False),
}
