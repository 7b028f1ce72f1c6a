"""DDPM (Ho et al. 2020, Eq. 6-7): the posterior mean of x_0 and x_t, plus sigma_t times noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDPMScheduler

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.noise_schedule import NoiseSchedule
from hierdiff_core.solvers.clipping import read_clipping
from hierdiff_core.solvers.linear import X0, History, Linear, Table, X, Z, at, make_linear
from hierdiff_core.solvers.prediction import predicted_x0
from hierdiff_core.solvers.schedulers import check_levels, load_scheduler

_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "learned_range")


@dataclass(frozen=True)
class LearnedVariance:
    """A Solver: DDPM whose network also predicts sigma_t, in a second half of its channels.

    Nichol & Dhariwal 2021, Eq. 15: sigma_t^2 = exp(v log beta + (1 - v) log smallest).
    """

    mean: Linear  # its noise has weight 1, or 0 at the last step
    logs: torch.Tensor  # (2, K): log beta and log of the smallest variance
    draws_noise: bool = True
    initial_scale: float = 1.0
    history_size: int = 0

    @property
    def timesteps(self) -> torch.Tensor:
        """See Solver."""
        return self.mean.timesteps

    def to(self, device: torch.device) -> LearnedVariance:
        """See Solver."""
        return replace(self, mean=self.mean.to(device), logs=self.logs.to(device))

    def scale(self, latents: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See Solver."""
        return latents

    def predicted_x0(
        self, latents: torch.Tensor, prediction: torch.Tensor, steps: torch.Tensor
    ) -> torch.Tensor:
        """See Solver."""
        return self.mean.predicted_x0(latents, prediction, steps)

    def step(
        self,
        latents: torch.Tensor,
        prediction: torch.Tensor,
        noise: torch.Tensor | None,
        steps: torch.Tensor,
        history: History = (),
    ) -> tuple[torch.Tensor, History]:
        """See Solver."""
        if noise is not None:
            largest, smallest = at(self.logs, steps, latents)
            share = (prediction[:, latents.shape[1] :].double() + 1) / 2
            noise = torch.exp((share * largest + (1 - share) * smallest) / 2) * noise
        return self.mean.step(latents, prediction, noise, steps, history)


def make_ddpm(schedule: NoiseSchedule, steps: int) -> Linear | LearnedVariance:
    """Return DDPM over K steps of the noise schedule that a diffusers scheduler config states."""
    # To DPM-Solver's scheduler none means that it asks for none.
    unset = {"variance_type"} if schedule.complete.get("variance_type") is None else set()
    config = {key: value for key, value in schedule.complete.items() if key not in unset}
    scheduler = load_scheduler(DDPMScheduler, config, steps)
    variance = scheduler.variance_type
    if variance not in _VARIANCES:
        hint = f"use one of {', '.join(_VARIANCES)}"
        raise InvalidSetting(setting="variance_type", value=variance, hint=hint)
    timesteps = scheduler.timesteps.long()
    check_levels(timesteps, steps)
    bar, bar_next = _levels(scheduler, timesteps)
    beta = 1 - bar / bar_next
    smallest = ((1 - bar_next) / (1 - bar) * beta).clamp(min=1e-20)
    sigma = beta.sqrt() if variance == "fixed_large" else smallest.sqrt()
    if variance == "learned_range":
        sigma = torch.ones_like(sigma)
    weights = {
        X: (1 - beta).sqrt() * (1 - bar_next) / (1 - bar),
        X0: bar_next.sqrt() * beta / (1 - bar),
        Z: torch.where(timesteps == 0, 0.0, sigma),
    }
    x0 = predicted_x0(scheduler.config.prediction_type, bar.sqrt(), (1 - bar).sqrt())
    mean = make_linear(timesteps, weights, x0, read_clipping(scheduler.config))
    if variance != "learned_range":
        return mean
    return LearnedVariance(mean, torch.stack([beta.log(), smallest.log()]))


def _levels(scheduler: Any, timesteps: torch.Tensor) -> tuple[Table, Table]:
    """Return the cumulative products abar at each step and at the step after it."""
    bars, one = scheduler.alphas_cumprod.double(), torch.ones((), dtype=torch.float64)
    after = [int(scheduler.previous_timestep(t)) for t in timesteps]
    return bars[timesteps], torch.stack([bars[t] if t >= 0 else one for t in after])
