"""Solvers: one denoising step of each row, whatever step the row is at.

Their names and arithmetic are in `solvers`.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Protocol

import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.noise_schedule import NoiseSchedule as NoiseSchedule
from hierdiff_core.solvers import SOLVERS
from hierdiff_core.solvers.linear import History
from hierdiff_core.solvers.prediction import PREDICTIONS


class Solver(Protocol):
    """A solver as the sampler uses it."""

    @property
    def timesteps(self) -> torch.Tensor:
        """(K,) int64 or float32, the network's timestep at each evaluation.

        K is what plans count: `Recipe.evaluations`, which a few solvers make more than the steps
        that are asked for.
        """
        ...

    @property
    def draws_noise(self) -> bool:
        """Whether a step needs noise."""
        ...

    @property
    def initial_scale(self) -> float:
        """Factor of the initial noise."""
        ...

    @property
    def history_size(self) -> int:
        """How many past predictions a step needs, besides the latents; zeros before step 0."""
        ...

    def to(self, device: torch.device) -> Solver:
        """Return this solver with its tables on a device."""
        ...

    def scale(self, latents: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Return latents (B, C, ...) before steps (B,), scaled for the network."""
        ...

    def predicted_x0(
        self, latents: torch.Tensor, prediction: torch.Tensor, steps: torch.Tensor
    ) -> torch.Tensor:
        """Return x_0 (B, C, ...) by the network's prediction for latents before steps (B,)."""
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


def make_solver(name: str, schedule: NoiseSchedule, steps: int) -> Solver:
    """Return the solver of that name over some steps of a model's noise schedule.

    Raises InvalidSetting for a name, steps or a schedule that no solver here supports.
    """
    if name not in SOLVERS:
        raise InvalidSetting(setting="solver", value=name, hint=f"use one of {', '.join(SOLVERS)}")
    _check_fits(name, schedule)
    trained = schedule.complete.get("num_train_timesteps", 1000)
    if not 1 <= steps <= trained:
        raise InvalidSetting(setting="steps", value=steps, hint=f"use 1 to {trained}")
    made: Solver = resolve_name(SOLVERS[name].maker)(schedule, steps)
    return made


def _check_fits(name: str, schedule: NoiseSchedule) -> None:
    """Refuse a flow's solver for a diffusion model, and the reverse."""
    if SOLVERS[name].kind != schedule.kind:
        fitting = ", ".join(key for key, entry in SOLVERS.items() if entry.kind == schedule.kind)
        was = "was" if schedule.kind == "flow" else "was not"
        hint = f"the model {was} trained by flow matching; use one of {fitting}"
        raise InvalidSetting(setting="solver", value=name, hint=hint)
    prediction = schedule.complete.get("prediction_type", "epsilon")
    if schedule.kind == "diffusion" and prediction not in PREDICTIONS:
        hint = f"use one of {', '.join(PREDICTIONS)}"
        raise InvalidSetting(setting="prediction_type", value=prediction, hint=hint)
