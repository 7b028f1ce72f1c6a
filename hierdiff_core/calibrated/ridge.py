"""Ridge regression shrunk towards a multiple of the identity, tuned on left-out rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

_RIDGES = 10.0 ** np.arange(-3, 3.01, 0.25)  # relative to the mean eigenvalue of rows' rows
_FOLDS = 8  # folds of the groups, each left out once


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear map x -> x @ map, (D, D), symmetric."""

    map: Matrix
    left_out: Matrix  # (n, D) each row's value, predicted from other groups
    explained: float  # share of the values' sum of squares that these predictions explain
    ridge: float


def fit_towards(stretch: float, rows: Matrix, values: Matrix, groups: npt.NDArray[np.int64]) -> Fit:
    """Return the symmetric map of rows (n, D) to values (n, D) that predicts left-out rows best.

    The ridge weighs the squared difference from `stretch` times the identity, so directions without
    data take that. Rows of one group (n,) have noise in common and are left out together.
    """
    scale = max(float((rows**2).sum()) / max(1, min(rows.shape)), 1e-12)
    ridges, rest = _RIDGES * scale, values - stretch * rows
    folds = np.unique(groups, return_inverse=True)[1] % _FOLDS
    left_out = np.zeros((len(ridges), *values.shape))
    for fold in np.unique(folds):
        out = folds == fold
        left_out[:, out] = [rows[out] @ each for each in _maps(rows[~out], rest[~out], ridges)]
    errors = ((left_out - rest) ** 2).sum(axis=(1, 2))
    best = int(np.argmin(errors))
    best_map = next(_maps(rows, rest, ridges[best:]))
    total = float((values**2).sum()) or 1.0
    return Fit(
        stretch * np.eye(rows.shape[1]) + best_map,
        stretch * rows + left_out[best],
        1 - float(errors[best]) / total,
        float(ridges[best]),
    )


def _maps(rows: Matrix, values: Matrix, ridges: npt.NDArray[np.float64]) -> Iterator[Matrix]:
    """Yield for each ridge the symmetric M of the least |rows M - values|^2 + ridge |M|^2.

    With G = rows' rows and C = rows' values it solves (G + ridge) M + M (G + ridge) = C + C', which
    is elementwise in the axes of G.
    """
    strengths, axes = np.linalg.eigh(rows.T @ rows)
    along = axes.T @ (rows.T @ values) @ axes
    along, sums = along + along.T, strengths[:, None] + strengths[None, :]
    for ridge in ridges:
        yield axes @ (along / (sums + 2 * ridge)) @ axes.T


def positive_part(matrix: Matrix) -> Matrix:
    """Return the symmetric part of a matrix without its negative eigenvalues."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def square_root(matrix: Matrix) -> Matrix:
    """Return R (D, D) with R R' = matrix, of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))
