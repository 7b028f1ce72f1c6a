"""Keys of a plan's segments, by which finished work is found again.

A key is a chain hash, so equal work has an equal key in any run, on any machine, on any night.
"""

from __future__ import annotations

from collections.abc import Sequence

from hierdiff_core.digest import digest
from hierdiff_core.plan import Plan, Segment

# Incremented whenever equal keys would no longer mean equal latents in a layout that is still read.
VERSION = 2


def node_key(
    plan: Plan, segment: Segment, content_keys: Sequence[str], text_keys: Sequence[str] = ()
) -> str:
    """Return a segment's content key: the digest of its founders' content keys, ascending.

    Variants of a text steer what they share as its first picture would, and each has its own key
    where it is alone: `text_keys`, where there are any, are those of the first pictures.
    """
    known = text_keys if text_keys and not plan.is_leaf(segment) else content_keys
    return digest("node", sorted(known[leaf] for leaf in plan.founders(segment)))


def node_keys(
    plan: Plan, content_keys: Sequence[str], text_keys: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return each segment's content key."""
    return tuple(node_key(plan, segment, content_keys, text_keys) for segment in plan.segments)


def segment_keys(
    plan: Plan,
    content_keys: Sequence[str],
    recipes: Sequence[str],
    text_keys: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return each segment's key: key = H(parent's key, node key, recipe, start, stop).

    `content_keys` and `text_keys` are given per leaf, founders that want no picture last, and
    `recipes` (compatibility keys) per leaf. The recipe carries model, revision, solver, guidance,
    size, K, seed and noise policy; members share one recipe.
    """
    keys: list[str] = []
    nodes = node_keys(plan, content_keys, text_keys)
    for segment, node in zip(plan.segments, nodes, strict=True):
        parent = None if segment.parent is None else keys[segment.parent]
        recipe = recipes[plan.order[segment.first]]
        keys.append(digest("segment", VERSION, parent, node, recipe, segment.start, segment.stop))
    return tuple(keys)
