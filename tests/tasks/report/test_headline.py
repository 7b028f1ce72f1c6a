"""The figures that come first name the planner in words that are true of every plan."""

from __future__ import annotations

import pytest

from hierdiff_core.plan import CALIBRATED, PAPER
from tasks.report.headline import planned_by


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (0.38431, "the model's calibration, price 0.3843 (excess per saved evaluation)"),
        (0.0, "the model's calibration, price 0 (excess per saved evaluation)"),
        (-1.0, "the model's calibration, nothing is shared"),
    ],
)
def test_a_calibrated_plan_names_its_price_unless_it_shares_nothing(
    price: float, expected: str
) -> None:
    assert planned_by(CALIBRATED, None, None, price) == expected


def test_a_plan_of_the_paper_names_its_linkage_and_tau() -> None:
    assert planned_by(PAPER, "average", 0.25, None) == "the paper's tree, average linkage, tau 0.25"
