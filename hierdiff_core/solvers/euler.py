"""Euler in the space of sigma (Karras et al. 2022, Alg. 1 without churn).

Latents are x_0 + sigma epsilon, and x' = x + (sigma' - sigma) (x - x_0) / sigma. The network gets
latents at the scale that it was trained at, x / sqrt(sigma^2 + 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import EulerDiscreteScheduler

from hierdiff_core.solvers.linear import X0, Linear, X, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import check_levels, load_scheduler


def make_euler(config: Mapping[str, Any], steps: int) -> Linear:
    """Return Euler over K steps of the noise schedule that a diffusers scheduler config states."""
    scheduler = load_scheduler(EulerDiscreteScheduler, config, steps)
    sigmas = scheduler.sigmas.double()
    s, s_next = sigmas[:steps], sigmas[1 : steps + 1]
    check_levels(s, steps)
    alpha = 1 / (s**2 + 1).sqrt()
    of_x, of_f = predicted_x0(scheduler.config.prediction_type, alpha, s * alpha)
    return make_linear(
        scheduler.timesteps,
        {X: s_next / s, X0: 1 - s_next / s},
        (of_x * alpha, of_f),
        input_scale=alpha,
        initial_scale=float(scheduler.init_noise_sigma),
    )
