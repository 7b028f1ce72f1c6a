"""Renewal: how a variant parts from the steps that it shares, where the solver draws no noise.

A network's prediction for x = a x_0 + s epsilon says x_0, and epsilon with it. Each step that a
variant takes alone, but for the last one, lands on

    x' = a' x_0 + s' (sqrt(1 - R^2) epsilon + R z),    z ~ N(0, I) its own,

so a share R of the predicted noise is replaced and the marginal kept. For diffusion models that is
DDIM with sigma_t = R sqrt(1 - abar_{t-1}) (Song et al. 2021, Eq. 12), whichever solver has led to
the fork; for flow matching a = 1 - s. It costs no evaluation, and reads no past prediction, which
would be one of other noise.
"""

from __future__ import annotations

import math

import torch

from hierdiff_core.noise_levels import noise_levels
from hierdiff_core.prompt import RENEWED
from hierdiff_core.solver import NoiseSchedule, Solver

Levels = torch.Tensor  # (2, K) float64: a and s


def levels_of(solver: Solver, schedule: NoiseSchedule) -> Levels:
    """Return a and s of the latents before each step, as the solver keeps them."""
    ratio = torch.from_numpy(noise_levels(schedule, solver.timesteps.cpu()))
    a = 1 / (1 + ratio) if schedule.kind == "flow" else 1 / (1 + ratio**2).sqrt()
    steps = torch.arange(len(ratio), device=solver.timesteps.device)
    ones = torch.ones(len(ratio), 1, 1, 1, device=solver.timesteps.device)
    scale = solver.scale(ones, steps).double().flatten().cpu()
    return torch.stack([a, a * ratio]) / scale


def renew(
    latents: torch.Tensor,
    x0: torch.Tensor,
    noise: torch.Tensor,
    before: Levels,
    after: Levels,
) -> torch.Tensor:
    """Return x' (B, C, ...) of latents (B, C, ...) whose levels are `before`; levels are (2, B)."""
    (a, s), (a_next, s_next) = (each.view(2, -1, *[1] * (x0.dim() - 1)) for each in (before, after))
    kept = math.sqrt(1 - RENEWED**2) * (latents - a * x0) / s
    return (a_next * x0 + s_next * (kept + RENEWED * noise)).float()
