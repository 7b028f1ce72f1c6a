"""Thresholds, and the tau that meets a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff_core.budget import Budget
from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.plan import make_plan
from hierdiff_core.schedule import Schedule, evaluations, make_schedule, solve_tau

every_linkage = pytest.mark.parametrize("linkage", LINKAGES)


def make_tree(size: int, linkage: str = "ward", seed: int = 0) -> ClusterTree:
    return build_tree(np.random.default_rng(seed).normal(size=(size, 6)), linkage)


def saving(trees: Sequence[ClusterTree], steps: int, tau: float) -> float:
    standard = steps * sum(tree.size for tree in trees)
    return 1 - evaluations(trees, make_schedule(steps, tau)) / standard


def assert_smallest(trees: Sequence[ClusterTree], steps: int, tau: float, wanted: float) -> None:
    assert saving(trees, steps, tau) >= wanted - 1e-9
    if tau > 0:
        assert saving(trees, steps, float(np.nextafter(tau, 0))) < wanted - 1e-9


def test_thresholds_fall_from_tau_to_zero_in_equal_steps() -> None:
    assert make_schedule(4, 2.0).phi().tolist() == [1.5, 1.0, 0.5, 0.0]


@every_linkage
@pytest.mark.parametrize("wanted", [0.01, 0.2, 1 / 3, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("steps", [13, 40])
def test_tau_is_the_smallest_that_saves_what_is_asked(
    linkage: str, wanted: float, steps: int
) -> None:
    tree = make_tree(60, linkage)
    assert_smallest([tree], steps, solve_tau(tree, steps, Budget(saving=wanted)).tau, wanted)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 50),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    copies=st.integers(1, 2),
    linkage=st.sampled_from(sorted(LINKAGES)),
    steps=st.integers(1, 50),
    share=st.floats(0, 1),
)
def test_tau_is_the_smallest_for_any_trees_together(
    seed: int, sizes: list[int], copies: int, linkage: str, steps: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    trees = [
        build_tree(rng.normal(size=(size, 4)).repeat(copies, axis=0), linkage) for size in sizes
    ]
    most = sum(tree.size - 1 for tree in trees) * (steps - 1)
    wanted = math.floor(share * most) / (steps * sum(tree.size for tree in trees))
    schedule = solve_tau(trees, steps, Budget(saving=wanted))
    assert schedule.steps == steps
    assert_smallest(trees, steps, schedule.tau, wanted)


@pytest.mark.parametrize("mean", [2.5, 7.0, 12.3, 20.0])
def test_a_budget_may_be_mean_steps_per_image(mean: float) -> None:
    tree = make_tree(50)
    schedule = solve_tau(tree, 20, Budget(steps_per_image=mean))
    assert evaluations([tree], schedule) / 50 <= mean + 1e-9
    assert schedule == solve_tau(tree, 20, Budget(saving=1 - mean / 20))
    assert_smallest([tree], 20, schedule.tau, 1 - mean / 20)


def test_several_trees_share_one_tau_and_one_budget() -> None:
    trees = [make_tree(30, seed=1), make_tree(5, seed=2), make_tree(1, seed=3)]
    tau = solve_tau(trees, 10, Budget(saving=0.4)).tau
    assert_smallest(trees, 10, tau, 0.4)
    assert evaluations(trees, make_schedule(10, tau)) == sum(
        evaluations([tree], make_schedule(10, tau)) for tree in trees
    )


@pytest.mark.parametrize("wanted", [0.05, 0.3, 0.55])
@pytest.mark.parametrize("forwards", [[1, 2, 2, 2, 1, 1, 1, 1], [2, 1, 1, 1, 1, 1, 1, 4]])
def test_a_budget_spends_the_price_of_each_step(wanted: float, forwards: list[int]) -> None:
    tree, prices = make_tree(40), np.array(forwards) / np.mean(forwards)
    tau = solve_tau(tree, 8, Budget(saving=wanted), prices).tau
    below = float(np.nextafter(tau, 0))
    saved = [saved_price(tree, make_schedule(8, each), prices) for each in (below, tau)]
    assert saved[0] < wanted - 1e-6 <= saved[1]


def saved_price(tree: ClusterTree, schedule: Schedule, prices: npt.NDArray[np.float64]) -> float:
    """Return the share of the price that a tree saves, counted node by node (Eq. 6)."""
    plan = make_plan(tree, schedule)
    active = [len(plan.active(k)) for k in range(1, schedule.steps + 1)]
    return 1 - float(np.dot(active, prices)) / (tree.size * schedule.steps)


def test_the_largest_saving_depends_on_the_prices_of_the_shared_steps() -> None:
    prices = np.array([1.5, 1.5, 0.6, 0.4])  # 9 merges save 32.4 of 40, and budgets are whole
    with pytest.raises(InvalidSetting, match=r"save at most 0\.8\b"):
        solve_tau(make_tree(10), 4, Budget(saving=0.81), prices)


@pytest.mark.parametrize("asked", [{"saving": 0.0}, {"steps_per_image": 8}])
def test_asking_for_nothing_gives_a_tau_of_zero(asked: dict[str, float]) -> None:
    assert solve_tau(make_tree(9), 8, Budget(**asked)).tau == 0
    assert solve_tau(make_tree(1), 8, Budget(**asked)).tau == 0


def test_the_most_that_can_be_saved_is_met() -> None:
    tree = make_tree(10)
    most = 9 * 4 / 50
    assert saving([tree], 5, solve_tau(tree, 5, Budget(saving=most)).tau) == pytest.approx(most)


def refusal(**asked: float | None) -> str:
    with pytest.raises(InvalidSetting) as refused:
        solve_tau(make_tree(10), 5, Budget(**asked))
    return str(refused.value)


def test_budgets_that_cannot_be_met_are_refused_with_what_can() -> None:
    assert refusal(saving=0.73) == "Setting saving is 0.73: this batch can save at most 0.72."
    assert refusal(steps_per_image=1.3) == (
        "Setting steps_per_image is 1.3: this batch needs at least 1.4."
    )


def test_what_a_refusal_says_can_be_met_is_met() -> None:
    for size, steps in ((3, 7), (10, 40), (7, 3), (13, 25), (999, 40)):
        tree = make_tree(size)
        for asked in ("saving", "steps_per_image"):
            with pytest.raises(InvalidSetting) as refused:
                solve_tau(tree, steps, Budget(**{asked: 0.9999 if asked == "saving" else 0.01}))
            limit = float(str(refused.value).rstrip(".").split()[-1])
            solve_tau(tree, steps, Budget(**{asked: limit}))


def test_budgets_out_of_range_are_refused() -> None:
    assert refusal(saving=1.0) == "Setting saving is 1.0: use 0 to below 1."
    assert refusal(saving=-0.1) == "Setting saving is -0.1: use 0 to below 1."
    assert refusal(saving=math.nan) == "Setting saving is nan: use 0 to below 1."
    assert refusal(steps_per_image=0) == "Setting steps_per_image is 0: use a number above 0."
    assert refusal(steps_per_image=6) == "Setting steps_per_image is 6: use above 0 to 5."


def test_one_budget_is_asked_for_not_none_and_not_two() -> None:
    assert "ask for either a saving or steps per image" in refusal()
    assert "ask for either a saving or steps per image" in refusal(saving=0.5, steps_per_image=3)


@pytest.mark.parametrize(
    ("steps", "tau", "message"),
    [
        (0, 1.0, "Setting steps is 0: use a whole number above 0."),
        (5, -0.1, "Setting tau is -0.1: use a finite number, 0 or more."),
        (5, math.inf, "Setting tau is inf: use a finite number, 0 or more."),
        (5, math.nan, "Setting tau is nan: use a finite number, 0 or more."),
    ],
)
def test_schedules_out_of_range_are_refused(steps: int, tau: float, message: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        make_schedule(steps, tau)
    assert str(refused.value) == message


def test_a_budget_without_trees_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="a budget needs at least one tree"):
        solve_tau([], 40, Budget(saving=0.5))
