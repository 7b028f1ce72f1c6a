"""The cluster tree: prompts as leaves, merges as nodes with heights.

A node's height is its heterogeneity: how unlike the two clusters were that it merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.clustering.two_level import merge_by_twigs
from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.errors import InvalidSetting

Vectors = npt.NDArray[np.floating]

# Prompts up to which a tree is exact: the matrix of 32-bit numbers then takes 1.6 GB.
EXACT = 20_000

# Rows up to which distances are 64-bit numbers; above, half the memory matters more.
_DOUBLE = 4_000


@dataclass(frozen=True, eq=False)
class ClusterTree:
    """A binary tree over N leaves: leaf i is node i, merge i is node N + i, the root comes last."""

    children: npt.NDArray[np.int64]  # (N-1, 2), each below its node
    heights: npt.NDArray[np.float64]  # (2N-1,) heterogeneity; never falls from a node to its parent
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
        children = self.children.tolist()  # Python's own numbers are faster one by one
        sizes = [1] * self.size
        for left, right in children:
            sizes.append(sizes[left] + sizes[right])
        first = [0] * len(sizes)
        for node in range(len(sizes) - 1, self.size - 1, -1):
            left, right = children[node - self.size]
            first[left], first[right] = first[node], first[node] + sizes[left]
        return np.stack([first, np.add(first, sizes)], axis=1)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """(N,) the leaves from left to right."""
        return np.argsort(self.spans[: self.size, 0])

    def members(self, node: int) -> npt.NDArray[np.int64]:
        """Return the leaves below a node."""
        first, last = self.spans[node]
        return self.order[first:last]


def build_tree(
    vectors: npt.NDArray[np.floating],
    linkage: str = "ward",
    keys: Sequence[str] | None = None,
    *,
    exact: int = EXACT,
) -> ClusterTree:
    """Return the tree of (N, D) vectors by `ward`, `average` or `centroid` linkage, N >= 1.

    Rows are taken in the order of their keys (of their bytes, without keys), which breaks ties;
    so the same rows in any order make the same tree. Heights are the monotone envelope
    height*(c) = max(height(c), height*(children)), since centroid linkage inverts. The tree of more
    than `exact` rows is made in two levels (`two_level`), in O(exact^2) memory beside the vectors.
    Raises InvalidSetting for an unknown linkage or no rows, InvalidEmbedding for a row that is
    zero, not finite, or of a norm that no embedding has (`check_vectors`).
    """
    if linkage not in LINKAGES:
        known = ", ".join(LINKAGES)
        raise InvalidSetting(setting="linkage", value=linkage, hint=f"use one of {known}")
    if exact < 1:
        raise InvalidSetting(setting="exact", value=exact, hint="use a whole number above 0")
    if not len(vectors):
        raise InvalidSetting(setting="vectors", value=0, hint="a tree needs at least one prompt")
    check_vectors(vectors)
    if len(vectors) == 1:
        return ClusterTree(np.empty((0, 2), dtype=np.int64), np.zeros(1), linkage)
    rank = np.array(sorted(range(len(vectors)), key=lambda row: _sort_key(vectors, keys, row)))
    precision = np.float64 if len(vectors) <= _DOUBLE else np.float32
    ordered: Vectors = vectors[rank].astype(precision, copy=False)
    if len(vectors) > exact:
        merges, unlike = merge_by_twigs(ordered, linkage, exact)
    else:
        merges, unlike = LINKAGES[linkage].merge(ordered)
    children = _leftmost_first(merges)
    heights = _envelope(children, unlike)
    leaves = children < len(rank)
    children[leaves] = rank[children[leaves]]
    return ClusterTree(children, heights, linkage)


def _sort_key(
    vectors: npt.NDArray[np.floating], keys: Sequence[str] | None, row: int
) -> str | bytes:
    return keys[row] if keys is not None else vectors[row].tobytes()


def _leftmost_first(merges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the merges with the child first that holds the smallest leaf."""
    smallest = list(range(len(merges) + 1))
    for left, right in merges.tolist():
        smallest.append(min(smallest[left], smallest[right]))
    below = np.array(smallest)[merges]
    return np.where(below[:, :1] < below[:, 1:], merges, merges[:, ::-1])


def _envelope(
    children: npt.NDArray[np.int64], merged: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    heights = [0.0] * (len(children) + 1)
    for (left, right), height in zip(children.tolist(), merged.tolist(), strict=True):
        heights.append(max(height, heights[left], heights[right]))
    return np.array(heights)
