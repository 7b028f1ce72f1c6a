"""What is said of a saving is true of what was spent, and a night of nothing saved says why."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.saving import Spending, saved_text, why_nothing


@pytest.mark.parametrize(
    ("planned", "standard", "spent", "text"),
    [
        (78, 156, 78, "50% saved"),
        (78, 156, 40, "50% saved"),  # it is still going on
        (
            78,
            156,
            117,
            "25% saved: 50% was planned, 39 evaluations were repeated",
        ),
        (
            78,
            156,
            198,
            "nothing saved: 50% was planned, 120 evaluations were repeated",
        ),
        (156, 156, 156, "0% saved"),
    ],
)
def test_a_night_that_repeated_work_is_not_told_by_its_plan(
    planned: int, standard: int, spent: int, text: str
) -> None:
    assert saved_text(Spending(planned, standard, spent)) == text


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"images": 1, "trees": 1}, "one picture"),
        ({"steps": 1}, "one step"),
        ({"trees": 12}, "leave that column out"),
        ({"tuned": "tuned 2026-11-22: do not share: DDIM, 5 steps"}, "hierdiff tune"),
        ({"saving": 0.0}, "larger HIERDIFF_SAVING"),
        ({"steps_per_image": 8.0}, "larger HIERDIFF_SAVING"),
        ({"tau": 0.25}, "HIERDIFF_TAU=0.25; HIERDIFF_SAVING=0.3"),
        ({"bound": 0.05}, "alike enough for HIERDIFF_LOSS=0.05"),
        ({"bound": 0.0}, "HIERDIFF_LOSS=0 asks for nothing to be shared"),
    ],
)
def test_a_night_of_nothing_saved_says_why_and_what_would(
    changed: dict[str, Any], reason: str
) -> None:
    plain: dict[str, Any] = {"images": 12, "trees": 1, "steps": 8, "tau": None}
    plain |= {"saving": None, "steps_per_image": None, "tuned": None, "bound": None}
    assert reason in why_nothing(**plain | changed)
