"""A model's calibration: where a run stands under any conditioning, at any noise level.

Knows maps and levels; knows nothing of files, of how maps were measured (`readings`) or of plans.
A map takes a conditioning to a point such that squared distances of points are those of latents
that have come down to that level from one noise, each under its own conditioning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hierdiff_core.calibrated.kernel import Matrix, kernel
from hierdiff_core.calibrated.levels import Levels, step_widths
from hierdiff_core.calibrated.points import StepPoints


@dataclass(frozen=True, eq=False)
class Calibration:
    """One map per noise level, and what predicted deviations come to in the end."""

    levels: Levels  # (L,) sigma, falling; at the first all runs are one, as they begin there
    examples: Matrix  # (n, D) conditionings that were measured
    scale: float  # of the kernel
    coefficients: npt.NDArray[np.float64]  # (L, n, r), zeros at the first level
    link: tuple[float, float]  # measured deviation = exp(a) predicted^b
    facts: Mapping[str, Any]  # where it comes from and how well it predicts; JSON values

    def points(self, vectors: npt.NDArray[np.floating], levels: Levels) -> StepPoints:
        """Return the points of (N, D) conditionings for K steps from these noise levels (K,).

        The point of step k stands for the latents after it. Squared distances are interpolated in
        log sigma, by standing the points of both levels side by side, and weighed by the step's
        width: see `docs/method.md`.
        """
        kernels = kernel(np.asarray(vectors, dtype=np.float64), self.examples, self.scale)
        return self.place(np.stack([kernels @ each for each in self.coefficients]), levels)

    def place(self, mapped: Matrix, levels: Levels) -> StepPoints:
        """Return points at the K steps of what the maps of all levels make of N rows, (L, N, r)."""
        weights = np.sqrt(step_widths(levels))

        def find(k: int) -> Matrix:
            upper, share = self._between(float(levels[k]))
            lower = min(upper + 1, len(mapped) - 1)
            both = [np.sqrt(1 - share) * mapped[upper], np.sqrt(share) * mapped[lower]]
            kept = both[:1] if share == 0 else both
            return np.asarray(weights[k - 1] * np.concatenate(kept, axis=1))

        return StepPoints(len(levels), mapped.shape[1], find)

    def expected(self, predicted: float) -> float:
        """Return the deviation of final latents that a predicted one stands for."""
        a, b = self.link
        return float(np.exp(a) * predicted**b)

    def discretisation(self, steps: int) -> float:
        """Return the squared deviation of K plain steps from many, per image.

        Interpolated in log K between the measured ones, of which the fewest stand for fewer still.
        """
        found = {int(each): error for each, error in self.facts["plain"].items()}
        found[int(self.facts["reference_steps"])] = 0.0
        known = sorted(found)
        errors = [found[each] for each in known]
        return float(np.interp(np.log(steps), np.log(known), errors))

    def _between(self, sigma: float) -> tuple[int, float]:
        """Return the level above a sigma and how far towards the next it lies, in log sigma."""
        heights = -np.log(self.levels)
        place = float(np.interp(-np.log(sigma), heights, np.arange(len(heights))))
        upper = min(int(place), len(heights) - 1)
        return upper, place - upper
