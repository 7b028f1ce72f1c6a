"""Trees of more rows than one matrix can hold: near rows become twigs, an exact tree joins those.

The price is that low merges are searched among near neighbours only, as found by `neighbours`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.chain import Merges
from hierdiff_core.clustering.distance import Vectors
from hierdiff_core.clustering.linkage import LINKAGES, Height
from hierdiff_core.clustering.neighbours import nearest_pairs

Pairs = npt.NDArray[np.int64]  # (E, 2), a < b
Heights = npt.NDArray[np.float64]

_NEIGHBOURS = 16
_CHUNK = 4_096  # pairs whose vectors are gathered at once


def merge_by_twigs(vectors: Vectors, linkage: str, most: int) -> Merges:
    """Return the merges of (N, D) vectors without a matrix of more than `most` rows.

    1. Each row is paired with its nearest rows. 2. Clusters that are mutual nearest neighbours are
    merged, round after round, lowest first, until `most` twigs are left: under a linkage in which
    merging brings nothing nearer these are the exact tree's merges, as far as the pairs contain
    each cluster's nearest. 3. The exact tree over the twigs, with their weights and their true
    distances, goes on top. Heights are on the linkage's own scale throughout, but may fall where
    the levels meet. Memory: the vectors twice and a matrix of most^2.
    """
    level = _Level(vectors, LINKAGES[linkage].height, LINKAGES[linkage].normalises)
    while level.count > most:
        level.merge_nearest(most)
    order, starts = level.rows()
    if level.count == 1:
        return level.made()
    over, heights = LINKAGES[linkage].merge(vectors[order], starts)
    first = len(vectors) + level.merged
    numbers = np.concatenate([level.cluster, first + np.arange(len(over))])
    below, lower = level.made()
    return np.concatenate([below, numbers[over]]), np.concatenate([lower, heights])


class _Level:
    """The clusters so far: their sums, sizes, and which merges made them."""

    def __init__(self, vectors: Vectors, height: Height, normalises: bool) -> None:
        size = len(vectors)
        self.height = height
        self.sums = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        if not normalises:
            self.sums = vectors.copy()
        self.sizes = np.ones(size)
        self.squares = _squares(self.sums)
        self.cluster = np.arange(size)  # the number of each cluster in the tree
        self.label = np.arange(size)  # the cluster of each row, by its place here
        self.merged = 0
        self._merges: list[tuple[Pairs, Heights]] = []

    @property
    def count(self) -> int:
        """Clusters that are left."""
        return len(self.sizes)

    def made(self) -> Merges:
        """Return the merges so far."""
        if not self._merges:
            return np.empty((0, 2), dtype=np.int64), np.empty(0)
        pairs, heights = zip(*self._merges, strict=True)
        return np.concatenate(pairs), np.concatenate(heights)

    def rows(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return all rows, cluster by cluster, and where each cluster begins."""
        order = np.argsort(self.label, kind="stable")
        return order, np.searchsorted(self.label[order], np.arange(self.count))

    def merge_nearest(self, most: int) -> None:
        """Merge near clusters until `most` clusters or no pairs of neighbours are left."""
        norms = np.sqrt(np.maximum(self.squares, np.finfo(self.sums.dtype).tiny))
        pairs = nearest_pairs(self.sums / norms[:, None].astype(self.sums.dtype), _NEIGHBOURS)
        heights = self._heights(pairs)
        while self.count > most and len(pairs):
            chosen = _reciprocal(pairs, heights, self.count)[: self.count - most]
            place, changed = self._join(pairs[chosen], heights[chosen])
            pairs, heights, stale = _contract(pairs, heights, place, changed)
            heights[stale] = self._heights(pairs[stale])

    def _heights(self, pairs: Pairs) -> Heights:
        heights = np.empty(len(pairs))
        for first in range(0, len(pairs), _CHUNK):
            a, b = pairs[first : first + _CHUNK].T
            products = np.einsum("ij,ij->i", self.sums[a], self.sums[b])
            heights[first : first + _CHUNK] = self.height(
                products, self.squares[a], self.squares[b], self.sizes[a], self.sizes[b]
            )
        return heights

    def _join(
        self, pairs: Pairs, heights: Heights
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Merge disjoint pairs of clusters; return the clusters' new places, and which grew."""
        kept, gone = pairs.T
        self._merges.append((self.cluster[pairs], heights))
        self.sums[kept] += self.sums[gone]
        self.sizes[kept] += self.sizes[gone]
        self.squares[kept] = _squares(self.sums[kept])
        self.cluster[kept] = len(self.label) + self.merged + np.arange(len(pairs))
        self.merged += len(pairs)
        left = np.ones(self.count, dtype=bool)
        left[gone] = False
        place = np.cumsum(left) - 1
        place[gone] = place[kept]
        grown = np.zeros(self.count, dtype=bool)
        grown[kept] = True
        self.label = place[self.label]
        self.sums, self.sizes = self.sums[left], self.sizes[left]
        self.squares, self.cluster = self.squares[left], self.cluster[left]
        return place, grown[left]


def _squares(vectors: Vectors) -> Heights:
    return np.einsum("ij,ij->i", vectors, vectors).astype(np.float64)


def _reciprocal(pairs: Pairs, heights: Heights, count: int) -> npt.NDArray[np.int64]:
    """Return the lower half of the mutual nearest pairs, ascending by height."""
    ascending = np.argsort(heights, kind="stable")
    nearest = np.empty(count, dtype=np.int64)
    # The last write wins: the lowest pair of each cluster.
    nearest[pairs[ascending[::-1]].ravel()] = np.repeat(ascending[::-1], 2)
    a, b = pairs[ascending].T
    both = ascending[(nearest[a] == ascending) & (nearest[b] == ascending)]
    return np.asarray(both[: -(-len(both) // 2)])


def _contract(
    pairs: Pairs,
    heights: Heights,
    place: npt.NDArray[np.int64],
    grown: npt.NDArray[np.bool_],
) -> tuple[Pairs, Heights, npt.NDArray[np.bool_]]:
    """Return the pairs between the new clusters, each once, and which heights have changed."""
    ends = np.sort(place[pairs], axis=1)
    apart = ends[:, 0] < ends[:, 1]
    ends, heights = ends[apart], heights[apart]
    _, first = np.unique(ends[:, 0] * len(grown) + ends[:, 1], return_index=True)
    ends, heights = ends[first], heights[first]
    return ends, heights, np.asarray(grown[ends].any(axis=1))
