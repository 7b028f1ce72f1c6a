"""A model's calibration: what sharing steps down to a noise level costs, for any two prompts.

Knows maps and levels; knows nothing of files, of how maps were measured (`readings`) or of plans.
Where a prompt shares all steps down to a level with prompts whose mean lies x away from it, its
picture misses what was asked by x A x' more: the excess. A is nothing at the start and grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hierdiff_core.calibrated.levels import Levels
from hierdiff_core.calibrated.points import StepPoints
from hierdiff_core.calibrated.ridge import Matrix, square_root

_SKETCH = 16  # directions that stand for all which the basis does not hold


@dataclass(frozen=True, eq=False)
class Calibration:
    """What has settled at each noise level, and how much plain pictures miss what was asked."""

    levels: Levels  # (L,) sigma, falling; at the first nothing has settled
    basis: Matrix  # (D, r) orthonormal directions in which conditionings were seen to vary
    settled: npt.NDArray[np.float64]  # (L, r, r) A in the basis; each less the one before is >= 0
    shares: npt.NDArray[np.float64]  # (L,) A of any other direction, the mean of all
    misfits: Mapping[int, float]  # by K, |embedding of the picture - conditioning|^2 of plain runs
    facts: Mapping[str, Any]  # where it comes from and how well it predicts; JSON values

    def points(self, vectors: npt.NDArray[np.floating], levels: Levels) -> StepPoints:
        """Return the points of (N, D) conditionings for K steps from these noise levels (K,).

        Squared distances of the points of step k are those of conditionings in the metric of what
        step k settles, A(sigma_{k+1}) - A(sigma_k); see `docs/method.md`.
        """
        vectors = np.asarray(vectors, dtype=np.float64)
        inside = vectors @ self.basis
        outside = (vectors - inside @ self.basis.T) @ _sketch(len(self.basis))
        # However low a solver starts, it starts from noise alone.
        bounds = np.concatenate([self.levels[:1], levels[1:]])

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
        """Return the settled share in the basis and outside of it, interpolated in log sigma."""
        upper, part = self._between(sigma)
        settled, shares = self.settled[upper : upper + 2], self.shares[upper : upper + 2]
        share = (1 - part) * shares[0] + part * shares[1]
        return (1 - part) * settled[0] + part * settled[1], float(share)

    def _between(self, sigma: float) -> tuple[int, float]:
        """Return the level above a sigma and how far towards the next it lies, in log sigma.

        Below the lowest level it lies beyond the next: settling goes on as it went, since a step
        that settled nothing would be shared by all.
        """
        heights = -np.log(self.levels)
        upper = int(np.clip(np.searchsorted(heights, -np.log(sigma)) - 1, 0, len(heights) - 2))
        part = (-np.log(sigma) - heights[upper]) / (heights[upper + 1] - heights[upper])
        return upper, max(0.0, float(part))


def _sketch(size: int) -> Matrix:
    """Return a map (D, S) that about keeps distances (Johnson and Lindenstrauss)."""
    rng = np.random.default_rng(0)
    return np.asarray(rng.standard_normal((size, _SKETCH)) / np.sqrt(_SKETCH))
