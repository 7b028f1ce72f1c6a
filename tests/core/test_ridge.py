"""Ridge regression towards a stretch: what is left out, and what is left where nothing is told."""

from __future__ import annotations

import numpy as np

from hierdiff_core.calibrated.ridge import fit_towards


def test_a_left_out_row_is_predicted_as_by_a_fit_without_it() -> None:
    rng = np.random.default_rng(0)
    rows, values = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    found = fit_towards(0.3, rows, values)
    keep = np.arange(30) != 7
    gram = rows[keep].T @ rows[keep] + found.ridge * np.eye(4)
    shift = np.linalg.solve(gram, rows[keep].T @ (values[keep] - 0.3 * rows[keep]))
    assert np.allclose(found.left_out[7], rows[7] @ (0.3 * np.eye(4) + shift))


def test_where_rows_tell_nothing_the_stretch_is_left() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 3))
    found = fit_towards(0.5, rows, 0.5 * rows + 5 * rng.normal(size=rows.shape))
    assert np.allclose(found.map, 0.5 * np.eye(3), atol=0.5)
