"""DPM-Solver++ (2M) (Lu et al. 2022, Alg. 2, midpoint), which keeps the previous x_0.

x' = (sigma'/sigma) x + alpha' (1 - e^-h) (x_0 + (x_0 - x_0 before) h / (2 h before)), where h is
the step in lambda = log(alpha/sigma). Lambda follows from the step, so the previous x_0 is the
whole history. The first step is of first order, and the last wherever diffusers' is.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.clipping import read_thresholding
from hierdiff_core.solvers.flow import multistep_flow
from hierdiff_core.solvers.linear import PAST, X0, Linear, Table, X, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import (
    check_config,
    check_levels,
    load_scheduler,
    set_scheduler,
)

_DONE = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}


def make_dpmsolver(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return DPM-Solver++ (2M) over K steps of the noise schedule that a config states."""
    scheduler = load_scheduler(DPMSolverMultistepScheduler, schedule.complete, steps)
    check_config(scheduler.config, _DONE | {"use_flow_sigmas": False})
    sigmas = scheduler.sigmas.double()  # sigma / alpha
    alpha = 1 / (sigmas**2 + 1).sqrt()
    return _make(scheduler, steps, alpha, sigmas * alpha)


def make_flow_dpmsolver(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return DPM-Solver++ (2M) over K steps of a flow."""
    config, spacing = multistep_flow(schedule, steps, takes_sigmas=False)
    scheduler = set_scheduler(DPMSolverMultistepScheduler, config, spacing)
    check_config(scheduler.config, _DONE)
    sigmas = scheduler.sigmas.double()
    return _make(scheduler, steps, 1 - sigmas, sigmas)


def _make(scheduler: Any, steps: int, alpha: Table, sigma: Table) -> Linear:
    check_levels(sigma[:-1] / alpha[:-1], steps)
    of_x0 = alpha[1:] * (1 - sigma[1:] / alpha[1:] / (sigma[:-1] / alpha[:-1]))
    of_change = of_x0 * _second_order(scheduler.config, sigma / alpha)
    (past, *_), last = PAST, {X0: torch.ones(steps, dtype=torch.float64)}
    weights = {X: sigma[1:] / sigma[:-1], X0: of_x0 + of_change, past: -of_change}
    x0 = predicted_x0(scheduler.config.prediction_type, alpha[:-1], sigma[:-1])
    clipping = read_thresholding(scheduler.config)
    return make_linear(scheduler.timesteps, weights, x0, clipping, kept=[last])


def _second_order(config: Any, sigmas: Table) -> Table:
    """Return h / (2 h before) for each step, 0 where a step is of first order."""
    K = len(sigmas) - 1
    h = -sigmas.log().diff()  # infinite before a sigma of 0
    share = torch.zeros_like(h)
    share[1:] = h[1:] / h[:-1] / 2
    final = config.lower_order_final and K < 15
    if final or config.euler_at_final or config.final_sigmas_type == "zero":
        share[-1] = 0
    return share
