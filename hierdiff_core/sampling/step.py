"""One denoising step: the one place where network and solver meet."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.solver import Solver
from hierdiff_core.solvers.linear import History


def advance(
    denoiser: Denoiser,
    solver: Solver,
    latents: torch.Tensor,
    history: History,
    steps: torch.Tensor,
    conditioning: Mapping[str, torch.Tensor],
    noise: torch.Tensor | None,
) -> tuple[torch.Tensor, History, torch.Tensor]:
    """Return latents and history after one step of each row, and the network's prediction.

    Latents and noise (B, *latent_shape), history as `Solver` keeps it, steps (B,) from 0,
    conditioning (B, ...), all on the denoiser's device, as the solver's tables; noise is None where
    the solver draws none. Rows may be at different steps, and a row's result depends on that row
    alone.
    """
    scaled = solver.scale(latents, steps)
    prediction = denoiser.predict(scaled, solver.timesteps[steps], conditioning)
    after, history = solver.step(latents, prediction, noise, steps, history)
    return after, history, prediction
