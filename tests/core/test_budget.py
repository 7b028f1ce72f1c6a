"""A budget is one number of evaluations, however it is asked for."""

from __future__ import annotations

import pytest

from hierdiff_core.budget import Budget
from hierdiff_core.errors import InvalidSetting


def test_a_saving_and_its_steps_per_image_are_one_budget() -> None:
    assert Budget(saving=0.5).evaluations(10, 6) == 30
    assert Budget(steps_per_image=2.55).evaluations(10, 6) == 25
    assert Budget(saving=0.3).evaluations(10, 10) == Budget(steps_per_image=7).evaluations(10, 10)


def test_what_floats_cannot_hold_costs_no_evaluation() -> None:
    assert Budget(saving=1 - 0.7).evaluations(10, 10) == 70
    assert Budget(saving=0.9).evaluations(1000, 40) == 4000


def test_a_budget_is_asked_for_in_one_way_only() -> None:
    with pytest.raises(InvalidSetting, match="either a saving or steps per image"):
        Budget(saving=0.1, steps_per_image=3)
    with pytest.raises(InvalidSetting, match="either a saving or steps per image"):
        Budget().evaluations(10, 6)


@pytest.mark.parametrize("wrong", [{"saving": 1}, {"saving": -0.1}, {"steps_per_image": 0}])
def test_a_budget_that_no_plan_can_meet_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting):
        Budget(**wrong)


def test_a_refusal_speaks_in_the_words_of_who_asked() -> None:
    with pytest.raises(InvalidSetting, match=r"saving is 0.9: this batch can save at most 0.7"):
        Budget(saving=0.9).require(30, images=10, steps=10)
    with pytest.raises(InvalidSetting, match=r"steps_per_image is 2: this batch needs at least 3"):
        Budget(steps_per_image=2).require(30, images=10, steps=10)
    assert Budget(saving=0.7).require(30, images=10, steps=10) == 30
