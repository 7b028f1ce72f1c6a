"""What a network predicts of x_0 is x_0, whatever it was trained to predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from hierdiff_core.noise_levels import noise_levels
from hierdiff_core.solver import NoiseSchedule, make_solver

NOISE: Mapping[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
FLOW = NoiseSchedule("flow", {"shift": 3.0})
K = 9


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("solver", ["ddim", "ddpm", "euler", "dpmsolver++"])
def test_a_diffusion_solver_reads_x0_out_of_a_true_prediction(solver: str, kind: str) -> None:
    schedule = NoiseSchedule("diffusion", {**NOISE, "prediction_type": kind})
    made = make_solver(solver, schedule, K)
    sigma = torch.tensor(noise_levels(schedule, made.timesteps))[:, None]
    alpha = 1 / (1 + sigma**2).sqrt()
    x0, epsilon = torch.randn(2, K, 3, generator=torch.Generator().manual_seed(3)).double()
    kept = 1.0 if solver == "euler" else alpha  # Euler's latents are x_0 + sigma epsilon
    latents = kept * (x0 + sigma * epsilon)
    v = alpha * epsilon - alpha * sigma * x0
    prediction = {"epsilon": epsilon, "sample": x0, "v_prediction": v}[kind]
    read = made.predicted_x0(latents, prediction, torch.arange(K))
    torch.testing.assert_close(read.double(), x0, rtol=0, atol=2e-3)


def test_a_flow_solver_reads_x0_out_of_a_true_velocity() -> None:
    made = make_solver("flow_euler", FLOW, K)
    share = (made.timesteps.double() / 1000)[:, None]
    x0, epsilon = torch.randn(2, K, 3, generator=torch.Generator().manual_seed(3)).double()
    latents = (1 - share) * x0 + share * epsilon
    read = made.predicted_x0(latents, epsilon - x0, torch.arange(K))
    torch.testing.assert_close(read.double(), x0, rtol=0, atol=1e-5)
