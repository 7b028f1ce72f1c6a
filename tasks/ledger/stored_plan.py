"""The night's plan as a record: the core's plan with all that a worker needs to carry it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hierdiff_core.clustering.tree import ClusterTree
from hierdiff_core.plan import Plan
from hierdiff_core.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Tree:
    """Leaves first_leaf to first_leaf + leaves - 1, which may share steps."""

    compatibility_key: str
    recipe: Recipe
    first_leaf: int
    leaves: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """One distinct picture, or a founder that wants none; its number is its place."""

    content_key: str
    embedding_key: str
    text_key: str = ""  # of the first picture of its text, where this is another one
    loss: float | None = None  # predicted, a share of what a plain picture misses


@dataclass(frozen=True, slots=True)
class Node:
    """A cluster of leaves, kept for pictures of the tree; its number is its place."""

    tree: int
    left: int | None  # None for a leaf
    right: int | None
    height: float
    size: int  # leaves below it


@dataclass(frozen=True)
class NightPlan:
    """A plan with all that a worker needs to carry it out, beside the embeddings."""

    recipe: Recipe
    plan: Plan
    trees: tuple[Tree, ...]
    leaves: tuple[Leaf, ...]
    keys: tuple[str, ...]  # one for each segment
    shards: tuple[tuple[int, ...], ...]  # segments of the trunk, then of each subtree
    saving_asked: float | None = None
    steps_per_image: float | None = None
    tuned: str = ""  # the catalogue's own setting, in words, where it was planned by that
    guests: tuple[Leaf, ...] = ()  # founders that want no picture, numbered after the leaves
    anew: frozenset[int] = frozenset()  # segments to make although an earlier run has made them

    @property
    def content_keys(self) -> tuple[str, ...]:
        """One for each leaf, then for each founder that wants no picture."""
        return tuple(leaf.content_key for leaf in (*self.leaves, *self.guests))

    @property
    def text_keys(self) -> tuple[str, ...]:
        """The same of the first picture of each text; none where all are first pictures."""
        if not any(leaf.text_key for leaf in self.leaves):
            return ()
        return tuple(leaf.text_key or leaf.content_key for leaf in (*self.leaves, *self.guests))


def tree_nodes(trees: Sequence[ClusterTree]) -> Iterator[Node]:
    """Yield the nodes of several trees, numbered on from tree to tree as `join_plans` does."""
    offset = 0
    for index, tree in enumerate(trees):
        sizes = (tree.spans[:, 1] - tree.spans[:, 0]).tolist()
        for node, height in enumerate(tree.heights.tolist()):
            left = right = None
            if node >= tree.size:
                left, right = (offset + int(child) for child in tree.children[node - tree.size])
            yield Node(index, left, right, height, sizes[node])
        offset += len(tree.heights)
