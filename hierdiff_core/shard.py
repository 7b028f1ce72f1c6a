"""Shards: a plan divided into a trunk and balanced groups of whole subtrees."""

from __future__ import annotations

import heapq
from collections.abc import Collection

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import Plan

# The heaviest subtree may weigh this part of a fair share; less would lengthen the trunk, which
# every shard waits for, and more would leave the shards uneven.
_GRAIN = 0.5


def make_shards(
    plan: Plan, count: int, stored: Collection[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """Return segment ids of the trunk, then of `count` shards, each id once and ascending.

    The trunk is run first and is empty for one shard. Subtrees heavier than half a fair share are
    opened, their top segment joins the trunk; the rest is dealt to the lightest shard, heaviest
    first (Graham's LPT rule). A shard is empty where there are fewer subtrees than shards. `stored`
    segments weigh nothing.
    """
    if count < 1:
        raise InvalidSetting(setting="shards", value=count, hint="use a whole number above 0")
    if count == 1:
        return (), tuple(range(len(plan.segments)))
    weights = _subtree_weights(plan, frozenset(stored))
    total = sum(weights[root] for root in plan.roots)
    trunk, tops = _open_heavy(plan, weights, limit=_GRAIN * total / count)
    lightest = [(0, shard) for shard in range(count)]
    shards: list[list[int]] = [[] for _ in range(count)]
    for top in sorted(tops, key=lambda each: (-weights[each], each)):
        load, shard = heapq.heappop(lightest)
        shards[shard].extend(plan.subtree(top))
        heapq.heappush(lightest, (load + weights[top], shard))
    return (tuple(sorted(trunk)), *(tuple(sorted(shard)) for shard in shards))


def _subtree_weights(plan: Plan, stored: Collection[int]) -> list[int]:
    weights = [0 if each.id in stored else each.steps for each in plan.segments]
    for segment in reversed(plan.segments):
        if segment.parent is not None:
            weights[segment.parent] += weights[segment.id]
    return weights


def _open_heavy(plan: Plan, weights: list[int], limit: float) -> tuple[list[int], list[int]]:
    heap = [(-weights[root], root) for root in plan.roots]
    heapq.heapify(heap)
    trunk: list[int] = []
    tops: list[int] = []
    while heap:
        weight, top = heapq.heappop(heap)
        if -weight > limit and plan.children[top]:
            trunk.append(top)
            for child in plan.children[top]:
                heapq.heappush(heap, (-weights[child], child))
        else:
            tops.append(top)
    return trunk, tops
