"""The plan: its arithmetic, its JSON and its joining."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import Plan, join_plans, make_plan
from hierdiff_core.schedule import evaluations, make_schedule
from hierdiff_core.shard import make_shards

K = 12
plans = pytest.mark.parametrize("linkage", LINKAGES)
shares = pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.3, 50.0])


def make_tree(size: int, linkage: str = "ward", seed: int = 0) -> ClusterTree:
    return build_tree(np.random.default_rng(seed).normal(size=(size, 5)), linkage)


def cut(tree: ClusterTree, share: float) -> Plan:
    return make_plan(tree, make_schedule(K, share * float(tree.heights[-1])))


@plans
@shares
def test_members_of_each_steps_active_segments_partition_the_prompts(
    linkage: str, share: float
) -> None:
    tree = make_tree(21, linkage)
    plan = cut(tree, share)
    for k in range(1, K + 1):
        leaves = [leaf for segment in plan.active(k) for leaf in plan.members(segment)]
        assert sorted(leaves) == list(range(21))
    for segment in plan.segments:
        assert sorted(plan.members(segment)) == sorted(tree.members(segment.node))
        assert segment.size == len(plan.members(segment))


@plans
@shares
def test_a_path_leads_from_noise_to_the_picture_without_a_gap(linkage: str, share: float) -> None:
    plan = cut(make_tree(21, linkage), share)
    for leaf in range(21):
        end = plan.leaf_segment(leaf)
        path = plan.path(end)
        assert (path[0].parent, path[0].start, path[-1]) == (None, 0, end)
        assert plan.is_leaf(end)
        assert plan.members(end) == (leaf,)
        assert [s.stop for s in path] == [*(s.start for s in path[1:]), K]
        assert all(leaf in plan.members(segment) for segment in path)
        assert [s.parent for s in path[1:]] == [s.id for s in path[:-1]]


@plans
@shares
def test_segments_are_numbered_depth_first(linkage: str, share: float) -> None:
    plan = cut(make_tree(21, linkage), share)
    assert [segment.id for segment in plan.segments] == list(range(len(plan.segments)))
    assert [each for root in plan.roots for each in plan.subtree(root)] == list(
        range(len(plan.segments))
    )
    assert all(segment.steps > 0 for segment in plan.segments)


@plans
@shares
def test_evaluations_are_those_that_the_schedule_promised(linkage: str, share: float) -> None:
    tree = make_tree(21, linkage)
    plan = cut(tree, share)
    assert plan.evaluations == evaluations([tree], make_schedule(K, plan.tau))
    assert plan.evaluations == sum(len(plan.active(k)) for k in range(1, K + 1))
    assert plan.evaluations_standard == 21 * K
    assert plan.saving == pytest.approx(1 - plan.evaluations / (21 * K))


@plans
@shares
def test_a_plan_survives_json(linkage: str, share: float) -> None:
    plan = cut(make_tree(8, linkage), share)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.children == plan.children
    assert again.active(3) == plan.active(3)


@pytest.mark.parametrize(("size", "steps"), [(1, 1), (1, 5), (2, 1), (2, 5)])
def test_the_smallest_batches_have_a_plan(size: int, steps: int) -> None:
    plan = make_plan(make_tree(size), make_schedule(steps, 100.0))
    shared = steps - 1 if size == 2 else 0
    assert plan.evaluations == size * steps - shared
    assert [plan.leaf_segment(leaf).stop for leaf in range(size)] == [steps] * size


def test_joined_plans_keep_their_shapes_and_number_on() -> None:
    parts = [make_plan(make_tree(size, seed=size), make_schedule(K, 1.0)) for size in (7, 1, 2, 9)]
    joined = join_plans(parts)
    assert joined.size == 19
    assert sorted(joined.order) == list(range(19))
    assert joined.evaluations == sum(plan.evaluations for plan in parts)
    assert [segment.id for segment in joined.segments] == list(range(len(joined.segments)))
    assert len({segment.node for segment in joined.segments}) == len(joined.segments)
    leaf = segment = 0
    for plan in parts:
        for own in plan.segments:
            there = joined.segments[segment + own.id]
            assert joined.members(there) == tuple(leaf + each for each in plan.members(own))
            assert (there.start, there.stop) == (own.start, own.stop)
            assert joined.path(there)[0].id == segment + plan.path(own)[0].id
        leaf, segment = leaf + plan.size, segment + len(plan.segments)


def test_joining_one_plan_changes_nothing() -> None:
    plan = cut(make_tree(6), 0.7)
    assert join_plans([plan]) == plan


def test_clusters_nested_a_thousand_deep_need_no_deep_recursion() -> None:
    size = 3000
    left = np.concatenate([[0], np.arange(size, 2 * size - 2)])
    children = np.stack([left, np.arange(1, size)], axis=1)
    scores = np.concatenate([np.zeros(size), np.linspace(0.001, 1, size - 1)])
    plan = make_plan(ClusterTree(children, scores, "by hand"), make_schedule(size, 1.01))
    assert len(list(plan.subtree(0))) == len(plan.segments)
    assert len(plan.path(plan.leaf_segment(0))) > 1000
    assert sum(map(len, make_shards(plan, 4))) == len(plan.segments)


def test_no_plans_make_no_forest() -> None:
    with pytest.raises(InvalidSetting, match="a forest needs at least one plan"):
        join_plans([])
