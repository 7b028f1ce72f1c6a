"""Shards: every segment once, each parent at hand, the load even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import Plan, Segment, join_plans, make_plan
from hierdiff_core.schedule import make_schedule
from hierdiff_core.shard import make_shards


def make_test_plan(size: int, share: float, seed: int = 0, steps: int = 20) -> Plan:
    rng = np.random.default_rng(seed)
    tree = build_tree(rng.normal(size=(size, 6)) + 2 * rng.normal(size=(1, 6)), "average")
    return make_plan(tree, make_schedule(steps, share * float(tree.heights[-1])))


def loads(plan: Plan, shards: tuple[tuple[int, ...], ...]) -> list[int]:
    return [sum(plan.segments[each].steps for each in shard) for shard in shards]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    size=st.integers(1, 60),
    share=st.floats(0, 3),
    seed=st.integers(0, 20),
    count=st.integers(1, 12),
)
def test_shards_partition_the_plan_and_never_wait_for_each_other(
    size: int, share: float, seed: int, count: int
) -> None:
    plan = make_test_plan(size, share, seed)
    trunk, *shards = make_shards(plan, count)
    assert len(shards) == count
    assert sorted([*trunk, *(each for shard in shards for each in shard)]) == list(
        range(len(plan.segments))
    )
    for shard in (trunk, *shards):
        assert list(shard) == sorted(shard)
        for each in shard:
            parent = plan.segments[each].parent
            assert parent is None or parent in trunk or parent in shard
    for each in trunk:  # the trunk alone is a forest from the roots down
        parent = plan.segments[each].parent
        assert parent is None or parent in trunk


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    size=st.integers(20, 120),
    share=st.floats(0, 2),
    seed=st.integers(0, 20),
    count=st.integers(2, 8),
)
def test_no_shard_has_more_than_a_fair_share_and_one_subtree(
    size: int, share: float, seed: int, count: int
) -> None:
    plan = make_test_plan(size, share, seed)
    _, *shards = make_shards(plan, count)
    own = loads(plan, tuple(shards))
    grain = max(0.5 * plan.evaluations / count, plan.steps)  # a leaf cannot be divided
    assert max(own) <= sum(own) / count + grain
    assert min(own) >= max(own) - grain


def test_a_large_plan_divides_evenly_behind_a_short_trunk() -> None:
    plan = make_test_plan(300, 1.0)
    trunk, *shards = loads(plan, make_shards(plan, 4))
    assert trunk < 0.05 * plan.evaluations
    assert max(shards) < 1.1 * min(shards)


def test_one_shard_has_no_trunk() -> None:
    plan = make_test_plan(9, 1.2)
    assert make_shards(plan, 1) == ((), tuple(range(len(plan.segments))))


def test_more_shards_than_subtrees_leave_some_empty() -> None:
    plan = make_test_plan(2, 0.0)
    trunk, *shards = make_shards(plan, 5)
    assert trunk == ()
    assert sorted(map(len, shards)) == [0, 0, 0, 1, 1]


def test_a_segment_may_have_any_number_of_children() -> None:
    many = tuple(Segment(1 + leaf, leaf, 3, 10, 0, leaf, leaf + 1) for leaf in range(6))
    plan = Plan(10, tuple(range(6)), (Segment(0, 99, 0, 3, None, 0, 6), *many), "by hand")
    assert make_shards(plan, 3) == ((0,), (1, 4), (2, 5), (3, 6))


def test_a_joined_forest_is_divided_like_any_plan() -> None:
    forest = join_plans([make_test_plan(size, 1.0, size) for size in (3, 30, 1, 12)])
    trunk, *shards = make_shards(forest, 3)
    assert sorted([*trunk, *sum(shards, ())]) == list(range(len(forest.segments)))


def test_the_same_plan_divides_the_same_way_each_time() -> None:
    assert make_shards(make_test_plan(80, 0.8), 5) == make_shards(make_test_plan(80, 0.8), 5)


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_one_is_refused(count: int) -> None:
    with pytest.raises(InvalidSetting) as refused:
        make_shards(make_test_plan(3, 0.0), count)
    assert str(refused.value) == f"Setting shards is {count}: use a whole number above 0."
