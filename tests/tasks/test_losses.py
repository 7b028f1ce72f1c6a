"""What a night is predicted to lose is said in words and figures, and never guessed."""

from __future__ import annotations

import pytest

from hierdiff_core.quality import TOLD_APART
from tasks.losses import apart_text, loss_text, sum_up

SEEN, UNSEEN = TOLD_APART * 1.1, TOLD_APART * 0.9


def test_the_mean_and_the_pictures_that_are_told_apart_are_counted() -> None:
    found = sum_up([SEEN, UNSEEN, 0.0, SEEN], bound=0.05)
    assert found is not None
    assert found.mean == pytest.approx((2 * SEEN + UNSEEN) / 4)
    assert (found.told_apart, found.images, found.beyond) == (2, 4, True)
    assert apart_text(found) == "2 predicted to be told apart"
    assert "predicted to be told apart: 2 of 4" in loss_text(found)
    assert "beyond the bound of 5.0%" in loss_text(found)


def test_what_the_search_for_a_bound_leaves_is_not_beyond_it() -> None:
    found = sum_up([0.0501, 0.05], bound=0.05)
    assert found is not None
    assert not found.beyond
    assert apart_text(found) == "none predicted to be told apart"
    assert "beyond" not in loss_text(found)


@pytest.mark.parametrize("losses", [[], [None, None], [0.1, None]])
def test_where_one_loss_is_not_known_nothing_is_said_of_the_whole(
    losses: list[float | None],
) -> None:
    found = sum_up(losses, bound=0.05)
    assert found is None
    assert apart_text(found) == "quality not predicted"
    assert "not predicted" in loss_text(found)


def test_a_night_without_a_bound_is_beyond_none() -> None:
    found = sum_up([5.0], bound=None)
    assert found is not None
    assert not found.beyond
