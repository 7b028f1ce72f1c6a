"""Noise levels: how noisy a solver's latents are before each step.

A level is sigma = sqrt((1 - abar) / abar), noise over signal; for flow matching it is t / (1 - t).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDPMScheduler

from hierdiff_core.solver import NoiseSchedule

Levels = npt.NDArray[np.float64]  # (K,) one sigma per step, falling

# Flow matching starts at pure noise, whose level is infinite; levels are capped here.
_HIGHEST = 1e4


def noise_levels(schedule: NoiseSchedule, timesteps: torch.Tensor) -> Levels:
    """Return sigma before each of the steps (K,) of a model's noise schedule."""
    times = timesteps.double().numpy()
    if schedule.kind == "flow":  # latents are (1 - t) x_0 + t noise, t in thousandths
        share = times / schedule.complete.get("num_train_timesteps", 1000)
        return np.asarray(np.minimum(share / np.maximum(1 - share, 1e-12), _HIGHEST))
    bars = DDPMScheduler.from_config(dict(schedule.complete)).alphas_cumprod.double().numpy()
    bars = np.interp(times, np.arange(len(bars)), bars)
    return np.asarray(np.minimum(np.sqrt((1 - bars) / np.maximum(bars, 1e-12)), _HIGHEST))


def landing_levels(levels: Levels) -> Levels:
    """Return for a fork before each of the steps (K,) the level that its first own step lands on.

    That is the level before the next step, and 0 for the last one. How much a shared run has
    settled depends on this level and hardly on that of the fork: a step replaces the picture by
    the prediction under its own conditioning, except for the remaining noise.
    """
    return np.append(levels[1:], 0.0)


def highest_level(schedule: NoiseSchedule) -> float:
    """Return sigma at the highest timestep of training; no run starts above it."""
    trained = schedule.complete.get("num_train_timesteps", 1000)
    last = torch.tensor([trained - (schedule.kind == "diffusion")])
    return float(noise_levels(schedule, last)[0])
