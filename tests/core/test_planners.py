"""Without a calibration, a budget or a tau the paper's tree saves something, and never fails."""

from __future__ import annotations

import pytest

from hierdiff_core.planners import SHARE, PlanSettings
from tests.core.test_standing import STEPS, first_night


@pytest.mark.parametrize("size", [2, 3, 12, 60])
def test_where_nothing_is_asked_for_a_share_is_saved(size: int) -> None:
    plan = first_night(*range(size), settings=PlanSettings(planner="paper")).plan
    one_step = 1 / (size * STEPS)
    assert SHARE - 1e-9 <= plan.saving < SHARE + 4 * one_step


def test_one_picture_is_made_alone() -> None:
    assert first_night(1, settings=PlanSettings(planner="paper")).plan.saving == 0


def test_a_tau_that_is_named_decides() -> None:
    nothing = PlanSettings(planner="paper", tau=0.0)
    assert first_night(*range(12), settings=nothing).plan.saving == 0
    assert first_night(*range(12), settings=PlanSettings(planner="paper", tau=1.0)).plan.saving > 0
