"""The cluster tree: prompts as leaves, each merge with its heterogeneity.

Knows nodes, members and scores; knows nothing of steps, costs or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hierdiff_core.embedding import check_vectors
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.linkage import LINKAGES, Vectors


@dataclass(frozen=True, eq=False)
class ClusterTree:
    """A binary tree over N leaves: leaf i is node i, merge i is node N + i, the root comes last."""

    children: npt.NDArray[np.int64]  # (N-1, 2), each below its node
    scores: npt.NDArray[np.float64]  # (2N-1,) heterogeneity; never falls from a node to its parent
    linkage: str

    @property
    def size(self) -> int:
        """The number of leaves, N."""
        return len(self.children) + 1

    @cached_property
    def parents(self) -> npt.NDArray[np.int64]:
        """(2N-1,) the node above each node; -1 above the root."""
        parents = np.full(2 * self.size - 1, -1)
        parents[self.children] = np.arange(self.size, 2 * self.size - 1)[:, None]
        return parents

    @cached_property
    def spans(self) -> npt.NDArray[np.int64]:
        """(2N-1, 2) half-open range of each node's leaves in `order`."""
        sizes = np.ones(2 * self.size - 1, dtype=np.int64)
        for node, (left, right) in enumerate(self.children, start=self.size):
            sizes[node] = sizes[left] + sizes[right]
        first = np.zeros(2 * self.size - 1, dtype=np.int64)
        for node in range(2 * self.size - 2, self.size - 1, -1):
            left, right = self.children[node - self.size]
            first[left], first[right] = first[node], first[node] + sizes[left]
        return np.stack([first, first + sizes], axis=1)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """(N,) the leaves from left to right."""
        return np.argsort(self.spans[: self.size, 0])

    def members(self, node: int) -> npt.NDArray[np.int64]:
        """Return the leaves below a node."""
        first, last = self.spans[node]
        return self.order[first:last]


def build_tree(
    vectors: npt.NDArray[np.floating], linkage: str = "ward", keys: Sequence[str] | None = None
) -> ClusterTree:
    """Return the tree of (N, D) vectors by `ward`, `average` or `centroid` linkage, N >= 1.

    Rows are taken in the order of their keys (of their bytes, without keys), which breaks ties;
    so the same rows in any order make the same tree. Scores are the monotone envelope
    score*(c) = max(score(c), score*(children)), since centroid linkage inverts.
    Raises InvalidSetting for an unknown linkage, InvalidEmbedding for a row that is zero or not
    finite.
    """
    if linkage not in LINKAGES:
        known = ", ".join(LINKAGES)
        raise InvalidSetting(setting="linkage", value=linkage, hint=f"use one of {known}")
    check_vectors(vectors)
    rank = sorted(range(len(vectors)), key=lambda row: _sort_key(vectors, keys, row))
    if len(vectors) == 1:
        return ClusterTree(np.empty((0, 2), dtype=np.int64), np.zeros(1), linkage)
    ordered: Vectors = np.ascontiguousarray(vectors[rank], dtype=np.float64)
    merges, heights = LINKAGES[linkage](ordered)
    children = _leftmost_first(merges)
    scores = _envelope(children, heights)
    leaves = children < len(rank)
    children[leaves] = np.asarray(rank)[children[leaves]]
    return ClusterTree(children, scores, linkage)


def _sort_key(
    vectors: npt.NDArray[np.floating], keys: Sequence[str] | None, row: int
) -> str | bytes:
    return keys[row] if keys is not None else vectors[row].tobytes()


def _leftmost_first(merges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the merges with the child first that holds the smallest leaf."""
    size = len(merges) + 1
    smallest = np.arange(2 * size - 1)
    children = merges.copy()
    for node, (left, right) in enumerate(merges, start=size):
        if smallest[right] < smallest[left]:
            children[node - size] = right, left
        smallest[node] = min(smallest[left], smallest[right])
    return children


def _envelope(
    children: npt.NDArray[np.int64], heights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    size = len(children) + 1
    scores = np.zeros(2 * size - 1)
    for node, (left, right) in enumerate(children, start=size):
        scores[node] = max(heights[node - size], scores[left], scores[right])
    return scores
