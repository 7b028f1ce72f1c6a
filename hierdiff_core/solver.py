"""Solvers: one denoising step of each row, whatever step the row stands at.

Knows noise schedules and the arithmetic of a step. Knows nothing of plans, guidance or networks.
A step is computed in float64 and rounded once, to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler, DDPMScheduler

from hierdiff_core.errors import InvalidSetting

Table = torch.Tensor  # (K,), one coefficient per step
History = tuple[torch.Tensor, ...]  # past predictions, each (B, C, ...) float32


class Solver(Protocol):
    """What the sampler needs of a solver."""

    @property
    def timesteps(self) -> torch.Tensor:
        """(K,) int64 or float32, what the network is told at each step."""
        ...

    @property
    def draws_noise(self) -> bool:
        """Whether a step needs noise."""
        ...

    @property
    def initial_scale(self) -> float:
        """What the initial noise is multiplied by."""
        ...

    @property
    def history_size(self) -> int:
        """How many past predictions a step needs, besides the latents; zeros before step 0."""
        ...

    def to(self, device: torch.device) -> Solver:
        """Return this solver with its tables on a device."""
        ...

    def scale(self, latents: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Return what the network is shown of latents (B, C, ...) before steps (B,)."""
        ...

    def step(
        self,
        latents: torch.Tensor,
        prediction: torch.Tensor,
        noise: torch.Tensor | None,
        steps: torch.Tensor,
        history: History = (),
    ) -> tuple[torch.Tensor, History]:
        """Return the latents and the history after one step.

        Latents and noise are (B, C, ...) float32; the prediction is (B, C, ...), or (B, 2C, ...)
        with the variance behind it; steps (B,) from 0. A row's result depends on that row alone.
        """
        ...


@dataclass(frozen=True)
class Clipping:
    """How the predicted x_0 is kept in range: not, to a range, or by dynamic thresholding."""

    range: float | None = None
    quantile: float | None = None  # dynamic thresholding (Imagen, section 2.3), per row
    largest: float = 1.0

    def __call__(self, x0: torch.Tensor) -> torch.Tensor:
        if self.quantile is not None:
            flat = x0.flatten(1).abs()
            bound = torch.quantile(flat, self.quantile, dim=1).clamp(1.0, self.largest)
            bound = _per_row(bound, x0)
            return torch.clamp(x0, -bound, bound) / bound
        return x0 if self.range is None else x0.clamp(-self.range, self.range)


@dataclass(frozen=True)
class Ddim:
    """DDIM with eta = 0 (Song et al., Eq. 12): x' = sqrt(a') x_0 + sqrt(1 - a') eps."""

    timesteps: torch.Tensor
    alphas: Table  # cumulative products abar at each step
    alphas_next: Table  # and at the step after it
    clipping: Clipping
    draws_noise: bool = False
    initial_scale: float = 1.0
    history_size: int = 0

    def to(self, device: torch.device) -> Ddim:
        """See Solver."""
        return replace(self, timesteps=self.timesteps.to(device))

    def scale(self, latents: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See Solver."""
        return latents

    def step(
        self,
        latents: torch.Tensor,
        prediction: torch.Tensor,
        noise: torch.Tensor | None,
        steps: torch.Tensor,
        history: History = (),
    ) -> tuple[torch.Tensor, History]:
        """See Solver."""
        epsilon = prediction[:, : latents.shape[1]]
        x0 = self.clipping(_predicted_x0(latents, epsilon, _at(self.alphas, steps, latents)))
        alpha = _at(self.alphas_next, steps, latents)
        return (alpha.sqrt() * x0 + (1 - alpha).sqrt() * epsilon).float(), ()


@dataclass(frozen=True)
class Ddpm:
    """DDPM (Ho et al., Eq. 6-7): the posterior mean of x_0 and x_t, plus sigma_t times noise."""

    timesteps: torch.Tensor
    alphas: Table
    alphas_next: Table
    variance: str  # fixed_small | fixed_small_log | fixed_large | learned_range
    clipping: Clipping
    draws_noise: bool = True
    initial_scale: float = 1.0
    history_size: int = 0

    def to(self, device: torch.device) -> Ddpm:
        """See Solver."""
        return replace(self, timesteps=self.timesteps.to(device))

    def scale(self, latents: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """See Solver."""
        return latents

    def step(
        self,
        latents: torch.Tensor,
        prediction: torch.Tensor,
        noise: torch.Tensor | None,
        steps: torch.Tensor,
        history: History = (),
    ) -> tuple[torch.Tensor, History]:
        """See Solver."""
        channels = latents.shape[1]
        alpha = _at(self.alphas, steps, latents)
        alpha_next = _at(self.alphas_next, steps, latents)
        beta = 1 - alpha / alpha_next
        x0 = self.clipping(_predicted_x0(latents, prediction[:, :channels], alpha))
        mean = (alpha_next.sqrt() * beta * x0) / (1 - alpha)
        mean = mean + (1 - beta).sqrt() * (1 - alpha_next) / (1 - alpha) * latents
        smallest = ((1 - alpha_next) / (1 - alpha) * beta).clamp(min=1e-20)
        sigma = self._sigma(smallest, beta, prediction[:, channels:])
        last = _per_row(self.timesteps.to(steps.device)[steps] == 0, latents)
        drawn = torch.zeros_like(latents) if noise is None else noise
        return torch.where(last, mean, mean + sigma * drawn).float(), ()

    def _sigma(
        self, smallest: torch.Tensor, beta: torch.Tensor, predicted: torch.Tensor
    ) -> torch.Tensor:
        if self.variance == "fixed_large":
            return beta.sqrt()
        if self.variance == "learned_range":  # Nichol & Dhariwal, Eq. 15
            share = (predicted + 1) / 2
            return torch.exp(0.5 * (share * beta.log() + (1 - share) * smallest.log()))
        return smallest.sqrt()


def make_ddim(config: Mapping[str, Any], steps: int) -> Ddim:
    """Return DDIM over K steps of the noise schedule that a diffusers scheduler config states."""
    scheduler = _scheduler(DDIMScheduler, config, steps)
    stride = scheduler.config.num_train_timesteps // steps
    after = [int(t) - stride for t in scheduler.timesteps]
    table = scheduler.alphas_cumprod.double()
    following = [table[t] if t >= 0 else scheduler.final_alpha_cumprod.double() for t in after]
    timesteps = scheduler.timesteps.long()
    return Ddim(timesteps, table[timesteps], torch.stack(following), _clipping(scheduler.config))


def make_ddpm(config: Mapping[str, Any], steps: int) -> Ddpm:
    """Return DDPM over K steps of the noise schedule that a diffusers scheduler config states."""
    scheduler = _scheduler(DDPMScheduler, config, steps)
    if scheduler.variance_type not in _VARIANCES:
        known = ", ".join(_VARIANCES)
        raise InvalidSetting(
            setting="variance_type", value=scheduler.variance_type, hint=f"use one of {known}"
        )
    after = [int(scheduler.previous_timestep(t)) for t in scheduler.timesteps]
    table = scheduler.alphas_cumprod.double()
    following = [table[t] if t >= 0 else torch.ones((), dtype=torch.float64) for t in after]
    timesteps = scheduler.timesteps.long()
    clipping = _clipping(scheduler.config)
    return Ddpm(
        timesteps, table[timesteps], torch.stack(following), scheduler.variance_type, clipping
    )


def make_solver(name: str, config: Mapping[str, Any], steps: int) -> Solver:
    """Return the solver of that name; raises InvalidSetting for what no solver here can do."""
    if name not in SOLVERS:
        raise InvalidSetting(setting="solver", value=name, hint=f"use one of {', '.join(SOLVERS)}")
    prediction = config.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise InvalidSetting(
            setting="prediction_type", value=prediction, hint="only epsilon is known"
        )
    trained = config.get("num_train_timesteps", 1000)
    if not 1 <= steps <= trained:
        raise InvalidSetting(setting="steps", value=steps, hint=f"use 1 to {trained}")
    return SOLVERS[name](config, steps)


_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "learned_range")
SOLVERS: Mapping[str, Callable[[Mapping[str, Any], int], Solver]] = {
    "ddim": make_ddim,
    "ddpm": make_ddpm,
}


def _scheduler(kind: Any, config: Mapping[str, Any], steps: int) -> Any:
    scheduler = kind.from_config(dict(config))
    scheduler.set_timesteps(steps)
    trained = scheduler.config.num_train_timesteps
    # An offset moves the first of very many steps beyond the table.
    if int(scheduler.timesteps.max()) >= trained:
        hint = f"use 1 to {trained - scheduler.config.steps_offset}"
        raise InvalidSetting(setting="steps", value=steps, hint=hint)
    return scheduler


def _clipping(config: Any) -> Clipping:
    if config.thresholding:
        return Clipping(quantile=config.dynamic_thresholding_ratio, largest=config.sample_max_value)
    return Clipping(range=config.clip_sample_range if config.clip_sample else None)


def _predicted_x0(
    latents: torch.Tensor, epsilon: torch.Tensor, alpha: torch.Tensor
) -> torch.Tensor:
    return (latents - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()


def _at(table: Table, steps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return _per_row(table.to(steps.device)[steps], like)


def _per_row(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
