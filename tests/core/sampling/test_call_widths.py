"""The width of each call follows from the plan, and an undisturbed run pads nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.call_widths import CallWidths, fit_width, rehearse
from hierdiff_core.schedule import make_schedule, solve_tau
from hierdiff_core.shard import make_shards

K = 12


@pytest.fixture(scope="module")
def plan() -> Plan:
    vectors = np.random.default_rng(0).normal(size=(60, 8)) + 2.0
    tree = build_tree(vectors)
    return make_plan(tree, solve_tau([tree], K, Budget(saving=0.5)))


def test_widths_add_up_to_calls_without_padding(plan: Plan) -> None:
    widths = rehearse(plan, range(len(plan.segments)), slots=8)
    assert all(len(widths[each.id]) == each.steps for each in plan.segments)
    calls = Counter(width for each in widths.values() for width in each)
    assert calls.total() == plan.evaluations
    assert all(rows % width == 0 for width, rows in calls.items())
    assert max(calls) == 8
    assert calls[8] > 0.8 * plan.evaluations


def test_a_rehearsed_run_starts_as_narrow_as_the_trunk_is() -> None:
    tree = build_tree(np.random.default_rng(0).normal(size=(20, 8)) + 2.0)
    trunk = make_plan(tree, make_schedule(K, 1.2 * float(tree.heights[-1])))
    widths = rehearse(trunk, range(len(trunk.segments)), slots=8)
    (root,) = trunk.roots
    assert set(widths[root]) == {1}
    assert [widths[each][0] for each in trunk.children[root]] == [len(trunk.children[root])] * 2


def test_each_part_is_rehearsed_on_its_own(plan: Plan) -> None:
    parts = make_shards(plan, 3)
    shapes = CallWidths(plan, parts, slots=8)
    for part in parts:
        alone = rehearse(plan, part, slots=8)
        for each in part:
            segment = plan.segments[each]
            found = [shapes.width(each, step) for step in range(segment.start, segment.stop)]
            assert found == list(alone[each])


def test_calls_of_one_and_of_two_passes_are_apart(plan: Plan) -> None:
    forwards = (1,) * 3 + (2,) * 5 + (1,) * 4
    widths = rehearse(plan, range(len(plan.segments)), slots=8, forwards=forwards)
    assert all(len(widths[each.id]) == each.steps for each in plan.segments)
    calls = Counter(
        (width, forwards[step])
        for each in plan.segments
        for step, width in zip(range(each.start, each.stop), widths[each.id], strict=True)
    )
    assert {passes for _, passes in calls} == {1, 2}
    assert all(rows % width == 0 for (width, _), rows in calls.items())


def test_one_slot_makes_calls_of_one_row(plan: Plan) -> None:
    widths = rehearse(plan, range(len(plan.segments)), slots=1)
    assert {width for each in widths.values() for width in each} == {1}


@pytest.mark.parametrize("rows", range(1, 13))
def test_few_shapes_are_powers_of_two_that_the_slots_allow(rows: int) -> None:
    width = fit_width(rows, 12, few=True)
    assert rows <= width <= 12
    assert width in {1, 2, 4, 8, 12}
    assert fit_width(rows, 12, few=False) == rows
