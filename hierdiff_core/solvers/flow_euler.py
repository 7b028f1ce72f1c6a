"""Euler for flow matching: x' = x + (sigma' - sigma) velocity.

Timesteps are sigma times 1000, not whole numbers. A stochastic scheduler predicts x_0 and draws
noise anew instead: x' = (1 - sigma') x_0 + sigma' z.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.linear import X0, F, Linear, X, Z, make_linear
from hierdiff_core.solvers.prediction import FLOW, predicted_x0
from hierdiff_core.solvers.schedulers import check_config, check_levels, set_scheduler

_DONE = {"invert_sigmas": False}


def make_flow_euler(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return flow-matching Euler over K steps, at the noise levels of the family where it has."""
    config = dict(schedule.complete)
    config.setdefault("shift", config.get("flow_shift", 1.0))
    check_config({**dict.fromkeys(_DONE, False), **config}, _DONE)
    scheduler = set_scheduler(FlowMatchEulerDiscreteScheduler, config, _spacing(schedule, steps))
    check_levels(scheduler.timesteps, steps)
    sigmas = scheduler.sigmas.double()
    x0 = predicted_x0(FLOW, 1 - sigmas[:-1], sigmas[:-1])
    if scheduler.config.stochastic_sampling:
        weights = {X0: 1 - sigmas[1:], Z: sigmas[1:]}
    else:
        weights = {X: torch.ones(steps, dtype=torch.float64), F: sigmas.diff()}
    return make_linear(scheduler.timesteps, weights, x0)


def _spacing(schedule: NoiseSchedule, steps: int) -> dict[str, Any]:
    own: dict[str, Any] = {"num_inference_steps": steps}
    if schedule.sigmas is not None:
        own = {"sigmas": list(schedule.sigmas(steps))}
    return own if schedule.mu is None else own | {"mu": schedule.mu(steps)}
