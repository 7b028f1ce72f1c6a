"""Linkages: which two clusters merge next, and at what distance.

Knows vectors and merges; knows nothing of prompts or steps. A linkage maps (N, D) float64 vectors,
N >= 2, to children (N-1, 2) and heights (N-1,): merge i makes cluster N + i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering

Vectors = npt.NDArray[np.float64]
Merges = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def merge_by_ward(vectors: Vectors) -> Merges:
    """Ward's criterion on pairwise cosine distances, as in the authors' published code.

    Heights grow with the size of clusters, so a tau belongs to this linkage alone.
    """
    merges = hierarchy.linkage(pdist(vectors, "cosine"), "ward")
    return merges[:, :2].astype(np.int64), merges[:, 2]


def merge_by_average(vectors: Vectors) -> Merges:
    """Mean cosine distance between members (UPGMA): 1 - <mean unit a, mean unit b>."""
    model = AgglomerativeClustering(
        n_clusters=1, linkage="average", metric="cosine", compute_distances=True
    ).fit(vectors)
    return np.asarray(model.children_, dtype=np.int64), np.asarray(model.distances_)


def merge_by_centroid(vectors: Vectors) -> Merges:
    """Cosine distance of the clusters' mean embeddings (Eq. 3-4), exact.

    Works on the Gram matrix of cluster sums: G[ab, x] = G[a, x] + G[b, x], and
    d(a, b) = 1 - G[a, b] / sqrt(G[a, a] G[b, b]), which scaling a sum to a mean does not change.
    Muellner's generic algorithm keeps each cluster's nearest later neighbour as a lower bound.
    Heights may fall (inversions). O(N^2) memory, about O(N^2) time.
    """
    size = len(vectors)
    gram = vectors @ vectors.T
    slot = np.arange(size)  # which cluster a row of the matrix holds now
    alive = np.ones(size, dtype=bool)
    nearest = _Nearest(gram, alive)
    children, heights = np.empty((size - 1, 2), dtype=np.int64), np.empty(size - 1)
    for merge in range(size - 1):
        a, b, height = nearest.closest_pair()
        children[merge], heights[merge] = sorted((slot[a], slot[b])), height
        gram[b] += gram[a]
        gram[:, b] = gram[b]
        gram[b, b] += gram[a, b]
        alive[a] = False
        slot[b] = size + merge
        nearest.merged(a, b)
    return children, heights


class _Nearest:
    """For each live row a, its nearest live row b > a; `distance` never exceeds the true one."""

    def __init__(self, gram: Vectors, alive: npt.NDArray[np.bool_]) -> None:
        self.gram, self.alive = gram, alive
        self.inverse_norm = _inverse_norm(np.diagonal(gram))
        size = len(gram)
        self.neighbour = np.full(size, size)
        self.distance = np.full(size, np.inf)
        self.stale = np.zeros(size, dtype=bool)  # the neighbour is gone or has moved away
        for row in range(size - 1):
            self._search(row)

    def closest_pair(self) -> tuple[int, int, float]:
        """Return the closest two live rows a < b and their distance."""
        row = int(np.argmin(self.distance))
        while self.stale[row]:
            self._search(row)
            row = int(np.argmin(self.distance))
        return row, int(self.neighbour[row]), max(0.0, float(self.distance[row]))

    def merged(self, gone: int, grown: int) -> None:
        """Take note that row `gone` was added to row `grown`."""
        self.distance[gone] = np.inf
        self.inverse_norm[grown] = _inverse_norm(self.gram[grown, grown])
        # The others were no nearer than the lost neighbour, so its distance is still a lower
        # bound: the search can wait until such a row comes out first.
        self.stale |= self.alive & ((self.neighbour == gone) | (self.neighbour == grown))
        earlier = np.flatnonzero(self.alive[:grown])
        distances = self._distances(grown, earlier)
        closer = distances < self.distance[earlier]
        rows = earlier[closer]
        self.distance[rows], self.neighbour[rows] = distances[closer], grown
        self.stale[rows] = False
        self._search(grown)

    def _search(self, row: int) -> None:
        later = row + 1 + np.flatnonzero(self.alive[row + 1 :])
        self.stale[row] = False
        if not len(later):
            self.distance[row] = np.inf
            return
        distances = self._distances(row, later)
        best = int(np.argmin(distances))
        self.distance[row], self.neighbour[row] = distances[best], later[best]

    def _distances(self, row: int, others: npt.NDArray[np.int64]) -> Vectors:
        scale = self.inverse_norm[row] * self.inverse_norm[others]
        return np.asarray(1 - self.gram[row, others] * scale)


def _inverse_norm(squared: Vectors) -> Vectors:
    # Opposite embeddings may sum to nothing; such a mean is at distance 1 from everything.
    return np.asarray(1 / np.sqrt(np.maximum(squared, np.finfo(np.float64).tiny)))


LINKAGES: Mapping[str, Callable[[Vectors], Merges]] = {
    "ward": merge_by_ward,
    "average": merge_by_average,
    "centroid": merge_by_centroid,
}
