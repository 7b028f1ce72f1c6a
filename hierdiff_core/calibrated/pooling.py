"""Pooling: random-effects shrinkage of similar, noisy values (DerSimonian and Laird)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_LEAST = 1e-12  # smallest variance, relative to the largest squared value


def pool(values: Values, variances: Values) -> Values:
    """Return the values (F,), each shrunk towards their mean, noisier ones more.

    Random effects: true values vary about their mean with a variance tau^2, estimated from the
    spread of the measured ones that their noise does not explain (DerSimonian and Laird, 1986).
    Where noise explains all of it, every value becomes the mean.
    """
    noise = np.maximum(variances, _LEAST * max(float((values**2).max()), 1e-300))
    weights = 1 / noise
    total = weights.sum()
    mean = float((weights * values).sum() / total)
    surplus = float((weights * (values - mean) ** 2).sum()) - (len(values) - 1)
    spread = max(0.0, surplus / max(float(total - (weights**2).sum() / total), 1e-300))
    return np.asarray(mean + spread / (spread + noise) * (values - mean))
