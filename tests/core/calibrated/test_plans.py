"""Plans of least excess: exact budgets, nested cuts, and how far the best plan lies below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff_core.calibrated.plans import (
    leaf_excess,
    least_evaluations,
    plan_at_price,
    plan_points,
    plan_within,
    predicted_excess,
)
from hierdiff_core.calibrated.points import StepPoints, spread_within
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import Plan
from tests.core.partitions import least_excesses, list_points, unshared_plan


def _keys(size: int) -> list[str]:
    return [f"{each:05d}" for each in range(size)]


def _points(size: int, steps: int, seed: int = 0) -> list[np.ndarray]:
    """Points that lie apart more and more, and not in the same directions at each step."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(size, 3))
    return [(k + 1) * (base + 0.7 * rng.normal(size=(size, 3))) for k in range(steps - 1)]


def _plan(points: StepPoints, evaluations: int) -> Plan:
    return plan_points([points], evaluations, [_keys(points.size)])[0].plan


def _members(plan: Plan) -> set[tuple[int, int, frozenset[int]]]:
    return {(s.start, s.stop, frozenset(plan.members(s))) for s in plan.segments}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.floats(0, 1), st.integers(0, 9))
def test_a_budget_is_kept_and_spent_to_less_than_a_picture(
    size: int, steps: int, share: float, seed: int
) -> None:
    least = size + steps - 1
    budget = least + int(share * (size * steps - least))
    plan = _plan(list_points(size, _points(size, steps, seed)), budget)
    assert budget - steps < plan.evaluations <= budget
    for k in range(1, steps + 1):
        taken = [leaf for segment in plan.active(k) for leaf in plan.members(segment)]
        assert sorted(taken) == list(range(size))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 6), st.floats(0, 1), st.integers(0, 9))
def test_a_budget_is_kept_in_prices_where_steps_differ_in_price(
    size: int, steps: int, share: float, seed: int
) -> None:
    forwards = np.random.default_rng(seed).integers(1, 3, steps)
    prices = forwards / forwards.mean()
    points = replace(list_points(size, _points(size, steps, seed)), prices=prices)
    least = least_evaluations([points])
    budget = least + int(share * (size * steps - least))
    plan = _plan(points, budget)
    spent = sum(price * len(plan.active(k)) for k, price in enumerate(prices, start=1))
    assert budget - steps * prices.max() < spent <= budget + 1e-6


def test_a_step_of_half_the_price_is_shared_less() -> None:
    alike = [_points(30, 5)[0]] * 4  # sharing costs the same at every step but the last
    shared = replace(list_points(30, alike), prices=np.array([4, 4, 2, 2, 2]) / 2.8)
    plan = _plan(shared, 90)
    counts = [len(plan.active(k)) for k in range(1, 5)]
    assert counts[0] == counts[1] < counts[2] == counts[3]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 6), st.floats(0.001, 1), st.integers(0, 9))
def test_a_bound_on_the_excess_is_kept_and_nearly_used(
    size: int, steps: int, share: float, seed: int
) -> None:
    points = list_points(size, _points(size, steps, seed))
    most = predicted_excess(_plan(points, size + steps - 1), points) * size
    (grown,) = plan_within([points], share * most, [_keys(size)])
    found = predicted_excess(grown.plan, points) * size
    assert found <= share * most * (1 + 1e-9)
    # One merge more would go beyond it, or everything is shared already.
    dearer = plan_at_price(points, 1.05 * (grown.plan.price or 0), _keys(size)).plan
    assert dearer == grown.plan or predicted_excess(dearer, points) * size > 0.99 * share * most


def test_a_bound_of_nothing_lets_equal_rows_share_and_no_others() -> None:
    points = list_points(6, [np.repeat(each, 2, axis=0) for each in _points(3, 4)])
    (grown,) = plan_within([points], 0.0, [_keys(6)])
    assert grown.plan.evaluations == 3 * 3 + 6
    assert predicted_excess(grown.plan, points) == pytest.approx(0, abs=1e-12)


def test_the_excess_of_a_picture_is_its_distance_from_those_that_steer_it() -> None:
    steps = _points(12, 5)
    plan = _plan(list_points(12, steps), 30)
    founder = plan.roots[0]
    strangers = tuple(range(5))
    segments = tuple(
        replace(each, founders=strangers) if each.id == founder else each for each in plan.segments
    )
    changed = replace(plan, segments=segments)
    wanted = np.zeros(12)
    for segment in changed.segments:
        for k in range(segment.start + 1, min(segment.stop, 4) + 1):
            mean = steps[k - 1][list(changed.founders(segment))].mean(axis=0)
            for leaf in changed.members(segment):
                wanted[leaf] += ((steps[k - 1][leaf] - mean) ** 2).sum()
    assert leaf_excess(changed, list_points(12, steps)) == pytest.approx(wanted)
    assert predicted_excess(changed, list_points(12, steps)) == pytest.approx(wanted.mean())


def test_the_whole_budget_shares_nothing() -> None:
    plan = _plan(list_points(9, _points(9, 4)), 36)
    assert _members(plan) == _members(unshared_plan(9, 4))
    assert predicted_excess(plan, list_points(9, _points(9, 4))) == pytest.approx(0, abs=1e-9)


def test_the_least_budget_shares_all_steps_but_the_last() -> None:
    plan = _plan(list_points(9, _points(9, 4)), 12)
    assert [segment.steps for segment in plan.segments] == [3] + 9 * [1]


def test_a_budget_below_that_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"needs at least 12"):
        _plan(list_points(9, _points(9, 4)), 11)


def test_a_segment_starts_where_a_segment_that_holds_it_stops() -> None:
    plan = _plan(list_points(60, _points(60, 6)), 200)
    for segment in plan.segments:
        if segment.parent is None:
            assert segment.start == 0
            continue
        above = plan.segments[segment.parent]
        assert above.stop == segment.start
        assert set(plan.members(segment)) < set(plan.members(above))


def test_each_segment_is_a_node_of_the_tree() -> None:
    grown = plan_points([list_points(40, _points(40, 5))], 120, [_keys(40)])[0]
    assert len({segment.node for segment in grown.plan.segments}) == len(grown.plan.segments)
    for segment in grown.plan.segments:
        assert set(grown.plan.members(segment)) == set(grown.tree.members(segment.node).tolist())
    above = grown.tree.parents[:-1]
    assert (grown.tree.heights[above] >= grown.tree.heights[:-1]).all()


def test_a_cluster_may_part_into_more_than_two() -> None:
    plan = _plan(list_points(30, _points(30, 3)), 60)
    assert max(map(len, plan.children)) > 2


def test_the_order_of_rows_changes_nothing() -> None:
    points, keys = _points(50, 5), _keys(50)
    order = np.random.default_rng(3).permutation(50)
    turned = list_points(50, [each[order] for each in points])
    plan = _plan(list_points(50, points), 150)
    other = plan_points([turned], 150, [[keys[each] for each in order]])[0].plan
    named = {(a, b, frozenset(order[list(c)].tolist())) for a, b, c in _members(other)}
    assert named == _members(plan)


def test_several_sets_share_one_budget_at_one_price() -> None:
    near, far = [each / 10 for each in _points(30, 4)], _points(30, 4, seed=1)
    sets = [list_points(30, near), list_points(30, far)]
    plans = [each.plan for each in plan_points(sets, 150, [_keys(30), _keys(30)])]
    assert sum(plan.evaluations for plan in plans) == 150
    assert plans[0].evaluations < plans[1].evaluations


def test_a_dearer_plan_has_less_excess() -> None:
    points = list_points(80, _points(80, 6))
    found = [predicted_excess(_plan(points, each), points) for each in range(100, 481, 20)]
    assert (np.diff(found) < 0).all()


def test_excess_is_the_spread_of_points_within_clusters() -> None:
    points = _points(12, 4)
    plan = _plan(list_points(12, points), 30)
    total = 0.0
    for k in range(1, 4):
        for segment in plan.active(k):
            members = points[k - 1][list(plan.members(segment))]
            total += float(((members - members.mean(axis=0)) ** 2).sum())
    assert predicted_excess(plan, list_points(12, points)) == pytest.approx(total / 12)


def test_merging_backwards_is_the_optimum_in_four_cases_of_five() -> None:
    ratios = []
    for seed in range(30):
        size, steps = 3 + seed % 3, 2 + seed % 2
        points = _points(size, steps, seed)
        least = least_excesses(points)
        for budget in range(size + steps - 1, size * steps):
            plan = _plan(list_points(size, points), budget)
            found = predicted_excess(plan, list_points(size, points)) * size
            ratios.append(found / least[budget])
    assert min(ratios) > 1 - 1e-9
    assert np.mean(np.array(ratios) < 1 + 1e-9) >= 0.8
    assert np.mean(ratios) <= 1.1
    assert max(ratios) <= 6  # where there is next to no excess in the optimum


def test_spread_within_is_zero_where_everyone_is_alone() -> None:
    assert spread_within(_points(7, 2)[0], np.arange(7)) == pytest.approx(0, abs=1e-12)


def test_a_large_set_is_planned_in_regions_within_the_same_budget() -> None:
    points = list_points(300, _points(300, 5))
    grown = plan_points([points], 700, [_keys(300)], exact=80)[0]
    whole = plan_points([points], 700, [_keys(300)])[0]
    assert grown.plan.evaluations == whole.plan.evaluations == 700
    for k in range(1, 6):
        taken = [leaf for segment in grown.plan.active(k) for leaf in grown.plan.members(segment)]
        assert sorted(taken) == list(range(300))
    for segment in grown.plan.segments:
        assert set(grown.plan.members(segment)) == set(grown.tree.members(segment.node).tolist())
    lost = predicted_excess(grown.plan, points) / predicted_excess(whole.plan, points)
    assert lost < 1.3


@pytest.mark.parametrize("exact", [7, 20, 40])
@pytest.mark.parametrize("rising", [True, False], ids=["apart at the end", "apart at the start"])
def test_the_tightest_budgets_are_kept_in_regions_too(exact: int, rising: bool) -> None:
    steps = 25
    sets = [list_points(size, _points(size, steps)[:: 1 if rising else -1]) for size in (20, 150)]
    keys = [_keys(20), _keys(150)]
    for budget in (218, 219, 243, 400):  # 218 is the least
        plans = [each.plan for each in plan_points(sets, budget, keys, exact)]
        assert sum(plan.evaluations for plan in plans) == budget


def test_equal_rows_share_for_free_even_where_the_budget_is_ample() -> None:
    points = [np.repeat(each, 10, axis=0) for each in _points(3, 4)]
    plan = _plan(list_points(30, points), 110)
    assert plan.evaluations < 110
    assert predicted_excess(plan, list_points(30, points)) == pytest.approx(0, abs=1e-9)


def test_regions_that_are_one_change_nothing() -> None:
    points = list_points(60, _points(60, 4))
    one = plan_points([points], 120, [_keys(60)], exact=60)[0].plan
    assert _members(one) == _members(plan_points([points], 120, [_keys(60)])[0].plan)
