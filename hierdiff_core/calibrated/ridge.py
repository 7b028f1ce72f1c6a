"""Ridge regression towards a stretch: a linear map from few rows, judged by leaving each one out.

Knows matrices; knows no prompt and no network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

_RIDGES = 10.0 ** np.arange(-3, 3.01, 0.25)  # beside the rows' mean variance


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear map x -> x @ map, (D, D)."""

    map: Matrix
    left_out: Matrix  # (n, D) each row's value, predicted from all others
    explained: float  # share of the values' squares that those predictions explain
    ridge: float


def fit_towards(stretch: float, rows: Matrix, values: Matrix) -> Fit:
    """Return the map of rows (n, D) to values (n, D) that predicts left-out rows best.

    What no row tells it takes from `stretch` times the identity: the ridge weighs the squared
    difference from that. With H = R (R'R + ridge I)^-1 R' the error at a left-out row is its
    residual / (1 - H_ii), so that no ridge needs a second fit (Allen's PRESS).
    """
    rest = values - stretch * rows
    eigenvalues, vectors = np.linalg.eigh(rows @ rows.T)
    eigenvalues = np.maximum(eigenvalues, 0)
    scale = max(float(eigenvalues.sum()) / max(1, min(rows.shape)), 1e-12)
    rotated = vectors.T @ rest
    tried = [_press(eigenvalues, vectors, rotated, rest, each) for each in _RIDGES * scale]
    best = int(np.argmin([float((each**2).sum()) for each in tried]))
    ridge, errors = float(_RIDGES[best] * scale), tried[best]
    weights = vectors @ (rotated / (eigenvalues + ridge)[:, None])
    total = float((values**2).sum()) or 1.0
    return Fit(
        stretch * np.eye(rows.shape[1]) + rows.T @ weights,
        values - errors,
        1 - float((errors**2).sum()) / total,
        ridge,
    )


def _press(
    eigenvalues: Matrix, vectors: Matrix, rotated: Matrix, rest: Matrix, ridge: float
) -> Matrix:
    """Return the errors (n, D) at left-out rows."""
    shrink = eigenvalues / (eigenvalues + ridge)
    leverage = np.einsum("ij,j,ij->i", vectors, shrink, vectors)
    residual = rest - vectors @ (shrink[:, None] * rotated)
    return np.asarray(residual / np.maximum(1 - leverage, 1e-9)[:, None])


def positive_part(matrix: Matrix) -> Matrix:
    """Return the symmetric part without its negative eigenvalues."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def square_root(matrix: Matrix) -> Matrix:
    """Return R (D, D) with R R' = matrix, of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))
