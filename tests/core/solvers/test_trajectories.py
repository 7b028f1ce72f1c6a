"""Whole trajectories of each solver against the diffusers scheduler of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.solver import NoiseSchedule, Solver, make_solver
from hierdiff_core.solvers import SOLVERS
from tests.core.gaussian import (
    KANDINSKY,
    SHAPE,
    STOCK,
    Gaussian,
    assert_near,
    draw,
    stock_scheduler,
    stock_trajectory,
)

CLIPPED = {"clip_sample": True, "clip_sample_range": 1.5}  # DDIM and DDPM alone look at it
COUNTS = (1, 2, 3, 4, 8, 25, 40)
OF_NOISE = [name for name in SOLVERS if name != "flow_euler"]
every_count = pytest.mark.parametrize("steps", COUNTS)
few_counts = pytest.mark.parametrize("steps", [1, 3, 25])
every_spacing = pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])


def our_trajectory(solver: Solver, denoiser: Gaussian, seed: int) -> list[torch.Tensor]:
    """Return the latents after each step of a row that starts from the seed's noise."""
    x = draw(seed, 1, *SHAPE) * solver.initial_scale
    history = tuple(torch.zeros_like(x) for _ in range(solver.history_size))
    found, middle = [], {"middle": middle_of(seed)[None]}
    for step, noise in enumerate(noises_of(seed, len(solver.timesteps))):
        at = torch.tensor([step])
        shown = solver.scale(x, at)
        prediction = denoiser.predict(shown, solver.timesteps[at], middle)
        given = noise[None] if solver.draws_noise else None
        x, history = solver.step(x, prediction, given, at, history)
        assert x.dtype == torch.float32
        assert all(past.dtype == torch.float32 for past in history)
        found.append(x[0])
    return found


def middle_of(seed: int) -> torch.Tensor:
    return draw(1000 + seed, *SHAPE)


def noises_of(seed: int, steps: int) -> list[torch.Tensor]:
    return list(draw(2000 + seed, steps, *SHAPE))


def check(name: str, config: Mapping[str, Any], steps: int, seed: int = 0) -> None:
    """Compare our trajectory with the stock scheduler's, after each step."""
    denoiser = Gaussian(config, flow=name == "flow_euler")
    solver = make_solver(name, denoiser.noise_schedule, steps)
    scheduler = stock_scheduler(name, config, steps)
    torch.testing.assert_close(solver.timesteps, scheduler.timesteps, rtol=0, atol=0)
    middles = [middle_of(seed)] * steps
    wanted = stock_trajectory(
        scheduler, denoiser, draw(seed, *SHAPE), middles, noises_of(seed, steps)
    )
    found = our_trajectory(solver, denoiser, seed)
    for ours, theirs in zip(found, wanted, strict=True):
        assert_near(ours, theirs)


def test_every_solver_is_compared_with_a_scheduler() -> None:
    assert set(SOLVERS) == set(STOCK)


@pytest.mark.parametrize("name", OF_NOISE)
@pytest.mark.parametrize("offset", [0, 1])
@every_spacing
@every_count
def test_a_trajectory_is_that_of_the_scheduler_of_the_same_name(
    name: str, steps: int, spacing: str, offset: int
) -> None:
    check(name, {**KANDINSKY, "timestep_spacing": spacing, "steps_offset": offset}, steps)


@pytest.mark.parametrize("name", OF_NOISE)
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("change", [{}, {"thresholding": True, "sample_max_value": 1.5}, CLIPPED])
@few_counts
def test_a_network_may_predict_noise_or_the_picture_or_v(
    name: str, steps: int, kind: str, change: Mapping[str, Any]
) -> None:
    check(name, {**KANDINSKY, "prediction_type": kind, **change}, steps)


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
@every_count
def test_a_flow_is_followed_as_its_scheduler_does(steps: int, shift: float) -> None:
    check("flow_euler", {"shift": shift}, steps)
    solver = make_solver("flow_euler", NoiseSchedule("flow", {"shift": shift}), steps)
    assert solver.timesteps.dtype == torch.float32
    assert ((solver.timesteps > 0) & (solver.timesteps <= 1000)).all()


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@few_counts
def test_ddpm_draws_with_fixed_and_with_learned_variance(
    variance: str, kind: str, steps: int
) -> None:
    check("ddpm", {**KANDINSKY, "variance_type": variance, "prediction_type": kind}, steps)


@pytest.mark.parametrize(
    "change",
    [
        {"lower_order_final": False},
        {"euler_at_final": True},
        {"final_sigmas_type": "sigma_min"},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "euler_at_final": True},
        {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -3.0},
        {"use_karras_sigmas": True},
        {"use_lu_lambdas": True},
        {"use_exponential_sigmas": True},
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 14, 15])
def test_dpm_solver_ends_as_its_config_says(change: Mapping[str, Any], steps: int) -> None:
    check("dpmsolver++", {**KANDINSKY, **change}, steps)


@pytest.mark.parametrize(
    "change",
    [
        {"final_sigmas_type": "sigma_min"},
        {"interpolation_type": "log_linear"},
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
    ],
)
@few_counts
def test_euler_takes_its_sigmas_from_its_config(change: Mapping[str, Any], steps: int) -> None:
    check("euler", {**KANDINSKY, **change}, steps)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    name=st.sampled_from(OF_NOISE),
    steps=st.integers(1, 60),
    seed=st.integers(0, 99),
    config=st.fixed_dictionaries(
        {
            "beta_schedule": st.sampled_from(["linear", "scaled_linear"]),
            "timestep_spacing": st.sampled_from(["leading", "linspace", "trailing"]),
            "steps_offset": st.integers(0, 1),
            "prediction_type": st.sampled_from(["epsilon", "sample", "v_prediction"]),
            "thresholding": st.booleans(),
            "sample_max_value": st.floats(1, 3),
            "dynamic_thresholding_ratio": st.floats(0.5, 1),
        }
    ),
)
def test_any_schedule_is_followed_or_refused(
    name: str, steps: int, seed: int, config: Mapping[str, Any]
) -> None:
    check(name, {**KANDINSKY, **config}, steps, seed)


@pytest.mark.parametrize("name", OF_NOISE)
@every_spacing
def test_a_number_of_steps_is_cut_as_asked_or_refused(name: str, spacing: str) -> None:
    schedule = NoiseSchedule("diffusion", {**KANDINSKY, "timestep_spacing": spacing})
    for steps in (60, 61, 62, 103, 121, 333, 499, 500, 501, 998, 999, 1000):
        try:
            solver = make_solver(name, schedule, steps)
        except InvalidSetting as refusal:
            assert "steps" in str(refusal)  # noqa: PT017
            continue
        assert len(solver.timesteps) == steps
        assert (solver.timesteps.diff() < 0).all()
