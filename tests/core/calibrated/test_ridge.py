"""Ridge regression towards a stretch: symmetric, right of left-out rows, quiet where nothing is."""

from __future__ import annotations

import numpy as np

from hierdiff_core.calibrated.ridge import fit_towards


def test_the_map_is_the_symmetric_one_of_the_least_penalised_squares() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 4)) * [3, 2, 1, 0.3]
    values = rows @ np.diag([0.2, 0.9, 0.4, 0.1]) + 0.1 * rng.normal(size=rows.shape)
    found = fit_towards(0.3, rows, values, np.arange(30))

    def cost(map_: np.ndarray) -> float:
        stretch = map_ - 0.3 * np.eye(4)
        return float(((rows @ map_ - values) ** 2).sum() + found.ridge * (stretch**2).sum())

    assert np.allclose(found.map, found.map.T, rtol=1e-12)
    for _ in range(50):
        change = rng.normal(size=(4, 4)) * 1e-3
        assert cost(found.map) < cost(found.map + change + change.T)


def test_a_row_is_left_out_with_all_of_its_group() -> None:
    rng = np.random.default_rng(0)
    rows, values, groups = rng.normal(size=(32, 4)), rng.normal(size=(32, 4)), np.arange(32) // 4
    found = fit_towards(0.3, rows, values, groups)
    other = np.where((groups == 2)[:, None], values + rng.normal(size=values.shape), values)
    again = fit_towards(0.3, rows, other, groups)
    assert again.ridge == found.ridge
    assert np.allclose(found.left_out[8:12], again.left_out[8:12])
    assert not np.allclose(found.left_out[:8], again.left_out[:8])


def test_where_rows_tell_nothing_the_stretch_is_left() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 3))
    found = fit_towards(0.5, rows, 0.5 * rows + 5 * rng.normal(size=rows.shape), np.arange(40))
    assert np.allclose(found.map, 0.5 * np.eye(3), atol=0.5)
