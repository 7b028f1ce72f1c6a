"""DDIM with eta = 0 (Song et al. 2021, Eq. 12): x' = sqrt(a') x_0 + sqrt(1 - a') epsilon."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler

from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.clipping import read_clipping
from hierdiff_core.solvers.linear import X0, F, Linear, X, make_linear
from hierdiff_core.solvers.prediction import predicted_noise, predicted_x0
from hierdiff_core.solvers.schedulers import check_levels, load_scheduler


def make_ddim(schedule: NoiseSchedule, steps: int) -> Linear:
    """Return DDIM over K steps of the noise schedule that a diffusers scheduler config states."""
    scheduler = load_scheduler(DDIMScheduler, schedule.complete, steps)
    timesteps = scheduler.timesteps.long()
    check_levels(timesteps, steps)
    stride = scheduler.config.num_train_timesteps // steps
    after = [int(t) - stride for t in timesteps]
    bars, last = scheduler.alphas_cumprod.double(), scheduler.final_alpha_cumprod.double()
    bar, bar_next = bars[timesteps], torch.stack([bars[t] if t >= 0 else last for t in after])
    kind, alpha, sigma = scheduler.config.prediction_type, bar.sqrt(), (1 - bar).sqrt()
    of_x, of_f = predicted_noise(kind, alpha, sigma)
    sigma_next = (1 - bar_next).sqrt()
    weights = {X: sigma_next * of_x, F: sigma_next * of_f, X0: bar_next.sqrt()}
    x0 = predicted_x0(kind, alpha, sigma)
    return make_linear(timesteps, weights, x0, read_clipping(scheduler.config))
