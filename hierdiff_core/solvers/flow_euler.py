"""Euler for flow matching (Lipman et al. 2023): x' = x + (sigma' - sigma) velocity.

Latents are (1 - sigma) x_0 + sigma epsilon, the velocity is epsilon - x_0, and timesteps are
sigma times 1000, not whole numbers. The config's shift applies to all sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from hierdiff_core.solvers.linear import F, Linear, X
from hierdiff_core.solvers.schedulers import check_config, check_levels, set_scheduler

_DONE = {"use_dynamic_shifting": False, "invert_sigmas": False, "stochastic_sampling": False}


def make_flow_euler(config: Mapping[str, Any], steps: int) -> Linear:
    """Return flow-matching Euler over K steps of the schedule that a diffusers config states."""
    check_config({**dict.fromkeys(_DONE, False), **config}, _DONE)
    scheduler = set_scheduler(FlowMatchEulerDiscreteScheduler, config, steps)
    check_levels(scheduler.timesteps, steps)
    sigmas = scheduler.sigmas.double()
    change, ones = sigmas.diff(), torch.ones(steps, dtype=torch.float64)
    weights, x0 = torch.stack([ones, change]), torch.stack([ones, -sigmas[:-1]])
    return Linear(scheduler.timesteps, (X, F), weights, x0)
