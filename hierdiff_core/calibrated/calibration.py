"""A model's calibration: what sharing steps down to a noise level costs, for any two prompts.

Where a prompt shares its first steps with prompts whose mean lies x away from it, the misfit of its
picture grows by x A x': the excess. A depends on the noise level that the prompt's
first own step lands on; it is 0 at the highest level and grows as the level falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hierdiff_core.calibrated.levels import Levels, landing_levels
from hierdiff_core.calibrated.points import StepPoints
from hierdiff_core.calibrated.ridge import Matrix, square_root

_SKETCH = 16  # directions that stand for all which the basis does not hold
# Levels are interpolated in the logarithm of what lies above this, so that the last step's landing,
# 0, is a level like others; of what is as low, little is left to settle.
_FLOOR = 0.1


@dataclass(frozen=True, eq=False)
class Calibration:
    """What has settled at each noise level, and how much plain pictures miss what was asked."""

    levels: Levels  # (L,) sigma landed on, falling to 0; at the first nothing has settled
    basis: Matrix  # (D, r) orthonormal directions in which conditionings were seen to vary
    settled: npt.NDArray[np.float64]  # (L, r, r) A in the basis; each less the one before is >= 0
    shares: npt.NDArray[np.float64]  # (L,) A of any other direction, the mean of all
    misfits: Mapping[int, float]  # by K, |embedding of the picture - conditioning|^2 of plain runs
    facts: Mapping[str, Any]  # where it comes from and how well it predicts; JSON values

    def points(self, vectors: npt.NDArray[np.floating], levels: Levels) -> StepPoints:
        """Return the points of (N, D) conditionings for K steps from these noise levels (K,).

        Squared distances of the points of step k are those of conditionings in the metric of what
        step k settles, A(s_k) - A(s_{k-1}), where a fork after k steps lands on s_k; see
        `docs/method.md`.
        """
        vectors = np.asarray(vectors, dtype=np.float64)
        inside = vectors @ self.basis
        outside = (vectors - inside @ self.basis.T) @ _sketch(len(self.basis))
        # However low a solver starts, it starts from noise alone.
        bounds = np.concatenate([self.levels[:1], landing_levels(levels)[1:]])

        def find(k: int) -> Matrix:
            (above, share_above), (below, share_below) = map(self._at, bounds[k - 1 : k + 1])
            share = max(0.0, share_below - share_above)
            within = inside @ square_root(below - above)
            return np.concatenate([within, np.sqrt(share) * outside], axis=1)

        return StepPoints(len(levels), len(vectors), find)

    def misfit(self, steps: int) -> float:
        """Return how much pictures of K plain steps miss, interpolated in log K."""
        known = sorted(self.misfits)
        found = [self.misfits[each] for each in known]
        return float(np.interp(np.log(steps), np.log(known), found))

    def _at(self, sigma: float) -> tuple[Matrix, float]:
        """Return the settled share in the basis and outside of it, at a level landed on."""
        upper, part = self._between(sigma)
        settled, shares = self.settled[upper : upper + 2], self.shares[upper : upper + 2]
        share = (1 - part) * shares[0] + part * shares[1]
        return (1 - part) * settled[0] + part * settled[1], float(share)

    def _between(self, sigma: float) -> tuple[int, float]:
        """Return the level above a sigma and how far towards the next it lies, 0 to 1."""
        depths, depth = -np.log(self.levels + _FLOOR), -np.log(sigma + _FLOOR)
        upper = int(np.clip(np.searchsorted(depths, depth) - 1, 0, len(depths) - 2))
        part = (depth - depths[upper]) / (depths[upper + 1] - depths[upper])
        return upper, float(np.clip(part, 0, 1))


def _sketch(size: int) -> Matrix:
    """Return a map (D, S) that about keeps distances (Johnson and Lindenstrauss)."""
    rng = np.random.default_rng(0)
    return np.asarray(rng.standard_normal((size, _SKETCH)) / np.sqrt(_SKETCH))
