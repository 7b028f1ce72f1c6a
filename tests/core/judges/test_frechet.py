"""The Frechet distance is the one of the paper, whatever the rank."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.judges.frechet import frechet_distance


def sample(rows: int, features: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(features, features))
    return rng.normal(size=(rows, features)) @ mixed + rng.normal(size=features)


def test_it_equals_the_published_formula_by_another_root() -> None:
    a, b = sample(300, 12, 1), sample(200, 12, 2)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    literal = shift + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(literal, rel=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_two_spheres_are_as_far_apart_as_geometry_says() -> None:
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(200_000, 3))
    moved = 2 * rng.normal(size=(200_000, 3)) + [3.0, 0.0, 0.0]
    assert frechet_distance(unit, moved) == pytest.approx(9 + 3 * (2 - 1) ** 2, rel=0.01)


def test_a_set_is_at_no_distance_from_itself_even_where_its_rank_is_low() -> None:
    few = sample(10, 64, 3)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, few[::-1]) == pytest.approx(0, abs=1e-6)


def test_single_precision_rows_do_not_lose_digits() -> None:
    a, b = sample(300, 12, 1).astype(np.float32), sample(200, 12, 2).astype(np.float32)
    exact = frechet_distance(a.astype(np.float64), b.astype(np.float64))
    assert frechet_distance(a, b) == exact


def test_few_rows_make_it_larger_as_its_docstring_warns() -> None:
    drawn = np.random.default_rng(0).normal(size=(8_000, 16))
    few = np.mean(
        [frechet_distance(drawn[at : at + 50], drawn[4_000:]) for at in range(0, 500, 50)]
    )
    assert few > 3 * frechet_distance(drawn[:4_000], drawn[4_000:])


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (np.zeros((1, 4)), np.zeros((9, 4)), "needs at least 2 rows"),
        (np.zeros(4), np.zeros((9, 4)), "needs at least 2 rows"),
        (np.zeros((9, 4)), np.zeros((9, 5)), "has 4 features"),
        (np.full((9, 4), np.nan), np.zeros((9, 4)), "not finite"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(
    a: np.ndarray, b: np.ndarray, reason: str
) -> None:
    with pytest.raises(InvalidSetting, match=reason):
        frechet_distance(a, b)
