"""Euler in the space of sigma (Karras et al. 2022, Alg. 1 without churn), and its ancestral form.

Latents are x_0 + sigma epsilon, and x' = x + (sigma' - sigma) (x - x_0) / sigma. The network gets
latents at the scale that it was trained at, x / sqrt(sigma^2 + 1). The ancestral form goes on to a
lower level, down^2 = sigma'^2 - up^2, and adds noise: up^2 = sigma'^2 (1 - sigma'^2 / sigma^2).
"""

from __future__ import annotations

from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.linear import X0, Linear, Table, X, Z, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import check_levels, check_prediction, load_scheduler


def make_euler(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return Euler over K steps of the noise schedule that a diffusers scheduler config states."""
    return _make(EulerDiscreteScheduler, schedule, steps)


def make_euler_ancestral(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return ancestral Euler over K steps, for few-step models such as SDXL Turbo."""
    check_prediction(schedule.complete, ("epsilon", "v_prediction"))
    return _make(EulerAncestralDiscreteScheduler, schedule, steps, ancestral=True)


def _make(kind: type, schedule: NoiseSchedule, steps: int, *, ancestral: bool = False) -> Linear:
    scheduler = load_scheduler(kind, schedule.complete, steps)
    sigmas = scheduler.sigmas.double()
    s, s_next = sigmas[:steps], sigmas[1 : steps + 1]
    check_levels(s, steps)
    alpha = 1 / (s**2 + 1).sqrt()
    of_x, of_f = predicted_x0(scheduler.config.prediction_type, alpha, s * alpha)
    return make_linear(
        scheduler.timesteps,
        _ancestral(s, s_next) if ancestral else {X: s_next / s, X0: 1 - s_next / s},
        (of_x * alpha, of_f),
        input_scale=alpha,
        initial_scale=float(scheduler.init_noise_sigma),
    )


def _ancestral(s: Table, s_next: Table) -> dict[str, Table]:
    up = (s_next**2 * (s**2 - s_next**2) / s**2).sqrt()
    down = (s_next**2 - up**2).clamp(min=0).sqrt()
    return {X: down / s, X0: 1 - down / s, Z: up}
