"""What a sample says: the means of its pairs, an interval where there are two, and words for it."""

from __future__ import annotations

import pytest
from scipy.stats import t

from tasks.ledger import StoredPair
from tasks.measured import badness, measure_pairs, measured_text


def pair(leaf: int, loss: float | None, distance: float = 0.25, evaluations: int = 8) -> StoredPair:
    return StoredPair(leaf, "a", "b", 9, evaluations, "clip", distance, loss, 0.5, 0.75)


def test_the_interval_is_students_and_predictions_are_those_of_the_same_pictures() -> None:
    measured = measure_pairs([pair(0, 0.1), pair(3, 0.3)], {0: 0.2, 1: 9.0, 3: 0.4})
    assert measured is not None
    reach = float(t.ppf(0.975, 1)) * 0.1  # standard error of 0.1 and 0.3
    assert measured.loss == pytest.approx(0.2)
    assert (measured.low, measured.high) == pytest.approx((0.2 - reach, 0.2 + reach))
    assert measured.predicted == pytest.approx(0.3)
    assert measured.evaluations == 16
    assert measured_text(measured) == (
        "In 2 pairs sharing cost 20.0% of what plain pictures miss (95 %: -107.1% to 147.1%); "
        "30.0% was predicted for these. Those that shared score 0.5, plain ones 0.75."
    )


def test_one_pair_has_no_interval_and_one_that_an_earlier_night_made_does_not_count() -> None:
    measured = measure_pairs([pair(0, 0.1), pair(1, 0.9, evaluations=0)], {0: None})
    assert measured is not None
    assert (measured.pairs, measured.low, measured.high, measured.predicted) == (
        1,
        None,
        None,
        None,
    )
    assert measure_pairs([pair(1, 0.9, evaluations=0)], {}) is None


def test_where_no_loss_is_known_pairs_are_told_and_ordered_by_their_distance() -> None:
    measured = measure_pairs([pair(0, None, 0.1), pair(1, None, 0.3)], {})
    assert measured is not None
    assert measured_text(measured).startswith("The two pictures of 2 pairs are 0.200 apart")
    assert badness(None, 0.3) > badness(None, 0.1) > badness(None, None)
    assert badness(-0.2, 0.9) < badness(0.1, 0.2)
