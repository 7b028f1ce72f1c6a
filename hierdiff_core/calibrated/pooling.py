"""Pooling: random-effects shrinkage of similar, noisy values (DerSimonian and Laird)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_LEAST = 1e-12  # beside a value's square: a variance as small is none


def pool(values: Values, variances: Values) -> Values:
    """Return the values (F,), each drawn to their mean the more the noisier it is.

    Random effects: true values vary by tau^2 about their mean, which is estimated from how much
    more the measured ones differ than their noise explains (DerSimonian and Laird, 1986). Where
    noise explains it all, they are all the mean.
    """
    noise = np.maximum(variances, _LEAST * max(float((values**2).max()), 1e-300))
    weights = 1 / noise
    total = weights.sum()
    mean = float((weights * values).sum() / total)
    surplus = float((weights * (values - mean) ** 2).sum()) - (len(values) - 1)
    spread = max(0.0, surplus / max(float(total - (weights**2).sum() / total), 1e-300))
    return np.asarray(mean + spread / (spread + noise) * (values - mean))
