"""Resampling: a figure's 95 % interval over other prompts of the same kind.

Every draw comes from a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
_SEED = 20260101
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; infinite where the figure does not exist."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return the figure as JSON values; null where it is not finite."""
        found = {"value": self.value, "low": self.low, "high": self.high}
        return {name: each if math.isfinite(each) else None for name, each in found.items()}


@lru_cache(maxsize=16)
def weights(prompts: int, draws: int = DRAWS) -> Array:
    """Return (B, P) the share of each prompt in each draw; rows sum to 1."""
    rng = np.random.default_rng([_SEED, prompts])
    return rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws) / prompts


def estimate(value: float, draws: Array) -> Estimate:
    """Return a figure with the 2.5 and 97.5 % points of its resampled values.

    The points are drawn values, not interpolated, since some may be infinite.
    """
    low, high = np.quantile(draws, (0.025, 0.975), method="inverted_cdf")
    return Estimate(float(value), float(low), float(high))


def estimate_mean(values: Array) -> Estimate:
    """Return the mean of (P,) values with its interval."""
    return estimate(float(values.mean()), weights(len(values)) @ values)


def resample(scores: Array, figure: Callable[[Array], float]) -> Estimate:
    """Return a figure of mean scores (S,) with its interval; `scores` is (S, P), paired.

    The whole construction is repeated for each draw of prompts.
    """
    means = weights(scores.shape[1]) @ scores.T
    return estimate(figure(scores.mean(axis=1)), np.array([figure(row) for row in means]))
