"""A calibration at the noise levels of one solver's K steps, from which plans are made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.points import StepPoints
from hierdiff_core.noise_levels import Levels, noise_levels
from hierdiff_core.solver import NoiseSchedule, make_solver


@dataclass(frozen=True, eq=False)
class CalibratedSolver:
    """A calibration with one solver's levels, for any prompts of one model."""

    calibration: Calibration
    levels: Levels  # (K,) sigma before each step
    prices: npt.NDArray[np.float64] | None = None  # of an evaluation at each step; None: 1 each

    def points(self, vectors: npt.NDArray[np.floating]) -> StepPoints:
        """Return the points of prompts' vectors (N, D) at each step; see `Calibration.points`."""
        return replace(self.calibration.points(vectors, self.levels), prices=self.prices)


def calibrate_solver(
    calibration: Calibration, schedule: NoiseSchedule, solver: str, steps: int
) -> CalibratedSolver:
    """Return a calibration at the levels of K steps of a solver, on a model's noise schedule."""
    timesteps = make_solver(solver, schedule, steps).timesteps
    return CalibratedSolver(calibration, noise_levels(schedule, timesteps))
