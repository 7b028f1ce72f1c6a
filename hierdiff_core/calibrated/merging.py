"""Merging weighted points by Ward's criterion up to a price, without an N x N matrix.

Memory is O(N), time O(N^2) at worst and far less where the price is low: a cluster whose nearest
neighbour is too expensive is dropped for good, since no merge brings clusters nearer to each other
(Ward's linkage is reducible). For the same reason all pairs of mutual nearest neighbours merge at
once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # (N, D)
Weights = npt.NDArray[np.float64]  # (N,)
Ids = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

_BLOCK = 2**23  # numbers in a block of distances


@dataclass(frozen=True, eq=False)
class Merging:
    """The merges made of N points; merge i makes cluster N + i of two earlier ones."""

    size: int  # N
    children: Ids  # (M, 2), M < N
    increases: Weights  # (M,) increase of the sum of weighted squared distances by each merge

    def labels(self, first: int | None = None) -> Ids:
        """Return each point's cluster (N,), numbered from 0, after `first` merges or all."""
        made = self.children[:first]
        owner = np.arange(self.size + len(made))
        owner[made] = self.size + np.arange(len(made))[:, None]
        while not np.array_equal(above := owner[owner], owner):
            owner = above
        return np.unique(owner[: self.size], return_inverse=True)[1]

    def left(self, first: int) -> Ids:
        """Return the clusters that are not merged further after `first` merges, ascending."""
        free = np.ones(self.size + first, dtype=bool)
        free[self.children[:first]] = False
        return np.flatnonzero(free)

    def ascending(self) -> Merging:
        """Return the same merges in the order of their increases, none before its parts."""
        order = np.argsort(self.increases, kind="stable")
        number = np.arange(self.size + len(order))
        number[self.size + order] = self.size + np.arange(len(order))
        return Merging(self.size, number[self.children[order]], self.increases[order])


def merge_by_weighted_ward(points: Points, weights: Weights, price: float = np.inf) -> Merging:
    """Return every merge of Ward's tree whose increase is at most the price, ascending.

    A merge of clusters a and b raises the sum of weighted squared distances to the mean by
    w_a w_b / (w_a + w_b) |mean a - mean b|^2. Equal points in equal order give equal merges.
    """
    pool = _Pool(points, weights, price)
    children, increases = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    while len(pool.alive) > 1:
        pool.search()
        pairs, raised = pool.mutual()
        pool.merge(pairs, raised)
        children.append(pool.made[-len(pairs) :] if len(pairs) else children[0])
        increases.append(raised)
    merging = Merging(len(points), np.concatenate(children), np.concatenate(increases))
    return merging.ascending()


def chain_merging(size: int) -> Merging:
    """Return merges of N points one after the other, where any tree will do."""
    merged = np.concatenate([[0], size + np.arange(max(0, size - 2))])
    children = np.stack([np.arange(1, size), merged[: size - 1]], axis=1)
    return Merging(size, children, np.zeros(size - 1))


class _Pool:
    """Clusters that may still merge, each with its nearest neighbour where known."""

    def __init__(self, points: Points, weights: Weights, price: float) -> None:
        size = len(points)
        self.price, self.count = price, size
        self.means = np.zeros((2 * size, points.shape[1]))
        # Near the origin squared distances lose least to rounding.
        self.means[:size] = points - np.average(points, axis=0, weights=weights)
        self.weights = np.concatenate([weights, np.zeros(size)])
        self.floor = np.zeros(2 * size)  # the increase that made a cluster
        self.nearest = np.full(2 * size, -1)
        self.distance = np.full(2 * size, np.inf)
        self.alive = np.arange(size)
        self.made = np.empty((0, 2), dtype=np.int64)

    def search(self) -> None:
        """Find unknown neighbours; drop clusters whose nearest neighbour is too expensive."""
        unknown = self.alive[self.nearest[self.alive] < 0]
        place = np.searchsorted(self.alive, unknown)
        left, right, inverse = _factors(self.means[self.alive], self.weights[self.alive])
        rows = max(1, _BLOCK // len(self.alive))
        for first in range(0, len(unknown), rows):
            here = place[first : first + rows]
            gaps = left[here] @ right
            gaps /= inverse[here, None] + inverse
            gaps[np.arange(len(here)), here] = np.inf
            self.nearest[unknown[first : first + rows]] = self.alive[gaps.argmin(axis=1)]
        self.distance[unknown] = self._increase(unknown, self.nearest[unknown])
        dear = self.distance[self.alive] > self.price * (1 + 1e-6)
        self.alive = self.alive[~dear]

    def mutual(self) -> tuple[Ids, Weights]:
        """Return the mutual nearest pairs within the price, and their increases."""
        nearest = self.nearest[self.alive]
        mutual = (self.nearest[nearest] == self.alive) & (self.alive < nearest)
        left = self.alive[mutual]
        if not len(left) and len(self.alive):
            # Equal distances or rounding may lead in a circle: then the closest pair merges.
            left = self.alive[[np.argmin(self.distance[self.alive])]]
        pairs = np.stack([left, self.nearest[left]], axis=1)
        raised = self._increase(pairs[:, 0], pairs[:, 1])
        cheap = raised <= self.price
        dear = pairs[~cheap].ravel()
        self.alive = self.alive[~np.isin(self.alive, dear)]
        return np.sort(pairs[cheap], axis=1), raised[cheap]

    def merge(self, pairs: Ids, raised: Weights) -> None:
        """Make one cluster of each pair."""
        new = self.count + np.arange(len(pairs))
        a, b = pairs[:, 0], pairs[:, 1]
        share = (self.weights[b] / (self.weights[a] + self.weights[b]))[:, None]
        self.means[new] = self.means[a] + share * (self.means[b] - self.means[a])
        self.weights[new] = self.weights[a] + self.weights[b]
        # Rounding may put a cluster slightly below its parts.
        np.maximum(raised, np.maximum(self.floor[a], self.floor[b]), out=raised)
        self.floor[new] = raised
        self.count += len(pairs)
        self.made = np.concatenate([self.made, pairs])
        gone = np.zeros(self.count, dtype=bool)
        gone[pairs] = True
        self.alive = np.concatenate([self.alive[~gone[self.alive]], new])
        # A neighbour may have merged, or been dropped as too expensive.
        here = np.zeros(self.count, dtype=bool)
        here[self.alive] = True
        lost = ~here[self.nearest[self.alive]]
        self.nearest[self.alive[lost]] = -1

    def _increase(self, a: Ids, b: Ids) -> Weights:
        gap = self.means[a] - self.means[b]
        joint = self.weights[a] * self.weights[b] / (self.weights[a] + self.weights[b])
        return np.asarray(joint * np.einsum("nd,nd->n", gap, gap))


def _factors(means: Points, weights: Weights) -> tuple[Singles, Singles, Singles]:
    """Return two factors of all squared gaps between means, and 1 / weights.

    |m - m'|^2 = (|m|^2, m, 1) . (1, -2 m', |m'|^2), and w w' / (w + w') = 1 / (1 / w + 1 / w').
    Single precision is enough to find a neighbour; the increase of a merge is computed in double.
    """
    squares = np.einsum("nd,nd->n", means, means)[:, None]
    ones = np.ones_like(squares)
    left = np.concatenate([squares, means, ones], axis=1).astype(np.float32)
    right = np.concatenate([ones, -2 * means, squares], axis=1).astype(np.float32)
    return left, np.ascontiguousarray(right.T), (1 / weights).astype(np.float32)
