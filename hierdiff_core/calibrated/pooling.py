"""Pooling: noisy values of things much alike, each taken towards what all of them say.

Knows numbers and how noisy they are; knows nothing of what they measure.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def pool(values: Values, variances: Values) -> Values:
    """Return the values (F,), each drawn to their mean the more the noisier it is.

    Random effects: true values vary by tau^2 about their mean, which is estimated from how much
    more the measured ones differ than their noise explains (DerSimonian and Laird, 1986). Where
    noise explains it all, they are all the mean.
    """
    weights = 1 / np.maximum(variances, 1e-300)
    total = weights.sum()
    mean = float((weights * values).sum() / total)
    surplus = float((weights * (values - mean) ** 2).sum()) - (len(values) - 1)
    spread = max(0.0, surplus / max(float(total - (weights**2).sum() / total), 1e-300))
    kept = spread / (spread + np.maximum(variances, 1e-300))
    return np.asarray(mean + kept * (values - mean))
