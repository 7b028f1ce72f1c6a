"""LCM (Luo et al. 2023): x_0 at once, noised again to the next level.

x' = alpha' (c_out x_0 + c_skip x) + sigma' z, where c_skip is 1 and c_out 0 at time 0; the last
step draws no noise. The levels are a choice of those that the model was distilled on.
"""

from __future__ import annotations

import torch
from diffusers import LCMScheduler

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.clipping import read_clipping
from hierdiff_core.solvers.linear import X0, Linear, X, Z, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import check_levels, load_scheduler

_SPREAD = 0.5  # of the data, sigma_data in the paper


def make_lcm(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return LCM over K steps of the noise schedule that a diffusers scheduler config states."""
    scheduler = load_scheduler(LCMScheduler, schedule.complete, steps)
    timesteps = scheduler.timesteps.long()
    check_levels(timesteps, steps)
    bars = scheduler.alphas_cumprod.double()
    bar, bar_next = bars[timesteps], torch.ones(steps, dtype=torch.float64)
    bar_next[:-1] = bars[timesteps[1:]]
    scaled = timesteps.double() * scheduler.config.timestep_scaling
    skip, out = _SPREAD**2 / (scaled**2 + _SPREAD**2), scaled / (scaled**2 + _SPREAD**2).sqrt()
    weights = {X: bar_next.sqrt() * skip, X0: bar_next.sqrt() * out, Z: (1 - bar_next).sqrt()}
    x0 = predicted_x0(scheduler.config.prediction_type, bar.sqrt(), (1 - bar).sqrt())
    return make_linear(timesteps, weights, x0, read_clipping(scheduler.config))
