"""DPM-Solver++ (2M) (Lu et al. 2022, Alg. 2, midpoint), which keeps the previous x_0.

x' = (sigma'/sigma) x + alpha' (1 - e^-h) (x_0 + (x_0 - x_0 before) h / (2 h before)), where h is
the step in lambda = log(alpha/sigma). Lambda follows from the step, so the previous x_0 is the
whole history. The first step is of first order, and the last wherever diffusers' is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler

from hierdiff_core.solvers.clipping import read_thresholding
from hierdiff_core.solvers.linear import PAST, X0, Linear, Table, X, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import check_config, check_levels, load_scheduler

_DONE = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "use_flow_sigmas": False,
}


def make_dpmsolver(config: Mapping[str, Any], steps: int) -> Linear:
    """Return DPM-Solver++ (2M) over K steps of the noise schedule that a config states."""
    scheduler = load_scheduler(DPMSolverMultistepScheduler, config, steps)
    check_config(scheduler.config, _DONE)
    sigmas = scheduler.sigmas.double()  # sigma / alpha
    s, s_next = sigmas[:-1], sigmas[1:]
    check_levels(s, steps)
    alpha, alpha_next = 1 / (s**2 + 1).sqrt(), 1 / (s_next**2 + 1).sqrt()
    of_x0 = alpha_next * (1 - s_next / s)
    of_change = of_x0 * _second_order(scheduler.config, sigmas)
    weights = {X: (s_next * alpha_next) / (s * alpha), X0: of_x0 + of_change, PAST: -of_change}
    x0 = predicted_x0(scheduler.config.prediction_type, alpha, s * alpha)
    return make_linear(scheduler.timesteps, weights, x0, read_thresholding(scheduler.config))


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
