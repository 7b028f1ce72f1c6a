"""Kernel ridge regression: a smooth map from few examples, judged by leaving each of them out.

Knows vectors and numbers; knows no prompt and no network. The kernel is a Gaussian plus a scalar
product: the first bends the map where examples are, the second keeps vectors apart where none are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

_BEND = 10.0  # how much more the Gaussian part counts
_RIDGES = 10.0 ** np.arange(-6, 1.01, 0.5)  # beside the kernel's largest eigenvalue


@dataclass(frozen=True, eq=False)
class Fit:
    """A map y -> kernel(y, examples) @ coefficients, up to a constant."""

    coefficients: Matrix  # (n, M)
    left_out: Matrix  # (n, M) each example's value, predicted from all others
    explained: float  # R^2 of those predictions
    ridge: float


def spread(examples: Matrix) -> float:
    """Return the median squared distance between examples, the kernel's one scale."""
    squares = _squared_distances(examples, examples)
    apart = squares[np.triu_indices(len(examples), 1)]
    return float(np.median(apart)) or 1.0


def kernel(vectors: Matrix, examples: Matrix, scale: float) -> Matrix:
    """Return exp(-|y - y'|^2 / scale) + <y - mean, y' - mean> / (10 scale), (N, n)."""
    centre = examples.mean(axis=0)
    linear = (vectors - centre) @ (examples - centre).T / (_BEND * scale)
    return np.asarray(np.exp(-_squared_distances(vectors, examples) / scale) + linear)


def fit(examples_kernel: Matrix, values: Matrix) -> Fit:
    """Return the ridge regression of values (n, M) that predicts left-out examples best.

    With H = K (K + ridge I)^-1 the error at a left-out example is its residual / (1 - H_ii), so
    that no ridge needs a second fit (Allen's PRESS).
    """
    n = len(values)
    centring = np.eye(n) - 1 / n
    eigenvalues, vectors = np.linalg.eigh(centring @ examples_kernel @ centring)
    eigenvalues = np.maximum(eigenvalues, 0)
    centred = values - values.mean(axis=0)
    rotated, best = vectors.T @ centred, None
    for ridge in _RIDGES * max(float(eigenvalues[-1]), 1e-12):
        shrink = eigenvalues / (eigenvalues + ridge)
        leverage = np.einsum("ij,j,ij->i", vectors, shrink, vectors) + 1 / n
        residual = (centred - vectors @ (shrink[:, None] * rotated)) / (1 - leverage)[:, None]
        error = float((residual**2).sum())
        if best is None or error < best[0]:
            best = (error, float(ridge), residual)
    error, ridge, residual = best  # type: ignore[misc]  # there is always a ridge
    coefficients = vectors @ (rotated / (eigenvalues + ridge)[:, None])
    total = float((centred**2).sum()) or 1.0
    return Fit(coefficients, centred - residual, 1 - error / total, ridge)


def _squared_distances(a: Matrix, b: Matrix) -> Matrix:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0))
