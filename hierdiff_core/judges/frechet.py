"""The Frechet distance between two sets of pictures, in a judge's features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.errors import InvalidSetting

_FEWEST = 2  # rows: one has no covariance

Features = NDArray[np.floating]
Matrix = NDArray[np.float64]


def frechet_distance(features_a: Features, features_b: Features) -> float:
    """Return |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2) of (N, F) and (M, F).

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium" (2017), with a judge's features in place of Inception's. Computed in float64: the
    trace of (S_a S_b)^1/2 is the sum of the singular values of S_a^1/2 S_b^1/2, whose roots come
    from symmetric eigendecompositions, so it is real and never fails.

    The estimate is biased upwards, about as 1/N, and by more where rows are few next to features
    (below F + 1 rows a covariance has no full rank): compare only distances of equal N and M.
    Raises InvalidSetting for fewer than two rows, for unequal F, and for numbers that are not
    finite.
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (features_a, features_b))
    _check(a, b)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    spread_a, spread_b = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b))
    shared = np.linalg.norm(_root(spread_a) @ _root(spread_b), "nuc")
    distance = shift + np.trace(spread_a) + np.trace(spread_b) - 2 * shared
    return max(float(distance), 0.0)  # rounding may leave equal sets a hair below


def _root(covariance: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _check(a: Matrix, b: Matrix) -> None:
    for features in (a, b):
        if features.ndim != 2 or len(features) < _FEWEST:
            raise _refusal(
                features, f"the Frechet distance needs at least {_FEWEST} rows of features"
            )
        if not np.isfinite(features).all():
            raise _refusal(
                features, "some features are not finite; check the pictures they come from"
            )
    if a.shape[1] != b.shape[1]:
        raise _refusal(
            b, f"the other set has {a.shape[1]} features per row; use one judge for both"
        )


def _refusal(features: Matrix, hint: str) -> InvalidSetting:
    return InvalidSetting(setting="features", value=features.shape, hint=hint)
