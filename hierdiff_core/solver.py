"""Solvers: one denoising step of each row, whatever step the row stands at.

Knows solvers by name and what the sampler needs of one; their arithmetic is in `solvers`. Knows
nothing of plans, guidance or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.solvers.ddim import make_ddim
from hierdiff_core.solvers.ddpm import make_ddpm
from hierdiff_core.solvers.dpmsolver import make_dpmsolver
from hierdiff_core.solvers.euler import make_euler
from hierdiff_core.solvers.flow_euler import make_flow_euler
from hierdiff_core.solvers.linear import History
from hierdiff_core.solvers.prediction import PREDICTIONS


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

    def predicted_x0(
        self, latents: torch.Tensor, prediction: torch.Tensor, steps: torch.Tensor
    ) -> torch.Tensor:
        """Return x_0 (B, C, ...) as the network predicts it of latents before steps (B,)."""
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


SOLVERS: Mapping[str, Callable[[Mapping[str, Any], int], Solver]] = {
    "ddim": make_ddim,
    "ddpm": make_ddpm,
    "euler": make_euler,
    "flow_euler": make_flow_euler,
    "dpmsolver++": make_dpmsolver,
}


def make_solver(name: str, config: Mapping[str, Any], steps: int) -> Solver:
    """Return the solver of that name over K steps of a diffusers scheduler's config.

    Raises InvalidSetting for what no solver here can do.
    """
    if name not in SOLVERS:
        raise InvalidSetting(setting="solver", value=name, hint=f"use one of {', '.join(SOLVERS)}")
    _check_fits(name, config)
    trained = config.get("num_train_timesteps", 1000)
    if not 1 <= steps <= trained:
        raise InvalidSetting(setting="steps", value=steps, hint=f"use 1 to {trained}")
    return SOLVERS[name](config, steps)


def _check_fits(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a flow's solver for a model of noise, and the other way round."""
    flow = "shift" in config
    diffusion = any(setting.startswith("beta_") for setting in config)
    if name == "flow_euler" and (diffusion or "prediction_type" in config):
        others = ", ".join(each for each in SOLVERS if each != name)
        hint = f"the model was not trained by flow matching; use one of {others}"
        raise InvalidSetting(setting="solver", value=name, hint=hint)
    if name != "flow_euler" and flow:
        hint = "the model was trained by flow matching; use flow_euler"
        raise InvalidSetting(setting="solver", value=name, hint=hint)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        hint = f"use one of {', '.join(PREDICTIONS)}"
        raise InvalidSetting(setting="prediction_type", value=prediction, hint=hint)
