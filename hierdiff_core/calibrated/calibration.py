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

from hierdiff_core.calibrated.merging import Ids
from hierdiff_core.calibrated.points import Rows, StepPoints
from hierdiff_core.calibrated.ridge import Matrix, square_root
from hierdiff_core.noise_levels import Levels, landing_levels

_SKETCH = 16  # dimensions of the random projection of all directions outside the basis
# Levels are interpolated in log(sigma + this), so that the last step's landing level, 0, is finite;
# below it little is left to settle.
_FLOOR = 0.1
_ROWS = 2**14  # conditionings that are projected at once


@dataclass(frozen=True, eq=False)
class Calibration:
    """The settled share at each noise level, and the misfit of pictures without sharing."""

    levels: Levels  # (L,) sigma landed on, falling to 0; at the first nothing has settled
    basis: Matrix  # (D, r) orthonormal directions in which the measured conditionings vary
    settled: npt.NDArray[np.float64]  # (L, r, r) A in the basis; its increments are >= 0
    shares: npt.NDArray[np.float64]  # (L,) A of any other direction, the mean of all
    misfits: Mapping[int, float]  # by K, |embedding of the picture - conditioning|^2 of plain runs
    facts: Mapping[str, Any]  # its origin and the quality of its predictions; JSON values

    def points(self, vectors: npt.NDArray[np.floating], levels: Levels) -> StepPoints:
        """Return the points of (N, D) conditionings for K steps from these noise levels (K,).

        Squared distances of the points of step k are those of conditionings in the metric that
        step k settles, A(s_k) - A(s_{k-1}), where a fork after k steps lands on s_k; those of
        several steps are in the sum of their metrics. See `docs/method.md`.
        """
        parts = [self._project(vectors[at : at + _ROWS]) for at in range(0, len(vectors), _ROWS)]
        inside, outside = (np.concatenate(each) for each in zip(*parts, strict=True))
        # Every solver starts from pure noise, whatever its first level.
        bounds = np.concatenate([self.levels[:1], landing_levels(levels)[1:]])

        def find(start: int, stop: int, rows: Rows) -> Matrix:
            (above, share_above), (below, share_below) = map(self._at, bounds[[start, stop]])
            share = max(0.0, share_below - share_above)
            within = inside[rows] @ square_root(below - above)
            return np.concatenate([within, np.sqrt(share) * outside[rows]], axis=1)

        def anew(order: Ids) -> StepPoints:
            return self.points(vectors[order], levels)

        return StepPoints(len(levels), len(vectors), find, anew=anew)

    def _project(self, vectors: npt.NDArray[np.floating]) -> tuple[Matrix, Matrix]:
        """Return vectors in the basis, (N, r), and a sketch of what is left of them, (N, S)."""
        vectors = np.asarray(vectors, dtype=np.float64)
        inside = vectors @ self.basis
        return inside, (vectors - inside @ self.basis.T) @ _sketch(len(self.basis))

    def misfit(self, steps: int) -> float:
        """Return the misfit of pictures of K plain steps, interpolated in log K."""
        known = sorted(self.misfits)
        misfits = [self.misfits[steps] for steps in known]
        return float(np.interp(np.log(steps), np.log(known), misfits))

    def _at(self, sigma: float) -> tuple[Matrix, float]:
        """Return A at a level landed on: in the basis, and for any direction outside it."""
        upper, part = self._between(sigma)
        settled, shares = self.settled[upper : upper + 2], self.shares[upper : upper + 2]
        share = (1 - part) * shares[0] + part * shares[1]
        return (1 - part) * settled[0] + part * settled[1], float(share)

    def _between(self, sigma: float) -> tuple[int, float]:
        """Return the index of the level above a sigma, and its way to the next level, 0 to 1."""
        depths, depth = -np.log(self.levels + _FLOOR), -np.log(sigma + _FLOOR)
        upper = int(np.clip(np.searchsorted(depths, depth) - 1, 0, len(depths) - 2))
        part = (depth - depths[upper]) / (depths[upper + 1] - depths[upper])
        return upper, float(np.clip(part, 0, 1))


def _sketch(size: int) -> Matrix:
    """Return a map (D, S) that roughly preserves distances (Johnson and Lindenstrauss)."""
    rng = np.random.default_rng(0)
    return np.asarray(rng.standard_normal((size, _SKETCH)) / np.sqrt(_SKETCH))
