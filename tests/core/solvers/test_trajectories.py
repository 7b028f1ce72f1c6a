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
from hierdiff_core.solvers import SOLVERS, count_evaluations
from tests.core.gaussian import (
    FLOWS,
    KANDINSKY,
    ON_A_FLOW,
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
OF_NOISE = [name for name in SOLVERS if name not in FLOWS]
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
    denoiser = Gaussian(config, flow=name in FLOWS)
    if is_refused(name, config, steps):
        with pytest.raises(InvalidSetting):
            make_solver(name, denoiser.noise_schedule, steps)
        return
    solver = make_solver(name, denoiser.noise_schedule, steps)
    scheduler = stock_scheduler(name, config, steps)
    torch.testing.assert_close(solver.timesteps, scheduler.timesteps, rtol=0, atol=0)
    calls = count_evaluations(name, steps)
    assert len(solver.timesteps) == calls
    middles = [middle_of(seed)] * calls
    noises = noises_of(seed, calls)
    wanted = stock_trajectory(scheduler, denoiser, draw(seed, *SHAPE), middles, noises)
    found = our_trajectory(solver, denoiser, seed)
    for ours, theirs in zip(found, wanted, strict=True):
        assert_near(ours, theirs)


def is_refused(name: str, config: Mapping[str, Any], steps: int) -> bool:
    """Tell whether diffusers' scheduler cannot do it either."""
    only_noise_or_v = name in {"pndm", "euler_ancestral"}
    return (only_noise_or_v and config.get("prediction_type") == "sample") or (
        name == "lcm" and steps > 50
    )


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


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
@every_count
def test_a_flow_is_followed_as_its_scheduler_does(name: str, steps: int, shift: float) -> None:
    check(name, {"shift": shift}, steps)


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
@every_count
def test_a_flows_timesteps_are_no_whole_numbers(steps: int, shift: float) -> None:
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
        {"solver_type": "bh1", "final_sigmas_type": "sigma_min"},
        {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 14, 15])
def test_unipc_corrects_as_its_config_says(change: Mapping[str, Any], steps: int) -> None:
    check("unipc", {**KANDINSKY, **change}, steps)


@pytest.mark.parametrize("scaling", [10.0, 1.0])
@pytest.mark.parametrize("original", [50, 100])
@few_counts
def test_lcm_goes_through_the_levels_it_was_distilled_on(
    steps: int, original: int, scaling: float
) -> None:
    fields = {"original_inference_steps": original, "timestep_scaling": scaling}
    check("lcm", {**KANDINSKY, **fields}, steps)


@pytest.mark.parametrize(
    "change",
    [
        {"use_dynamic_shifting": True},
        {"use_dynamic_shifting": True, "shift_terminal": 0.02},
        {"use_dynamic_shifting": True, "time_shift_type": "linear"},
        {"shift": 3.0},
        {"shift": 3.0, "stochastic_sampling": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [2, 3, 25])
def test_a_flow_follows_the_levels_that_a_pipeline_hands_its_scheduler(
    change: Mapping[str, Any], steps: int
) -> None:
    sigmas = [1 - step / steps for step in range(steps)]
    mu = 0.9 if change.get("use_dynamic_shifting") else None
    denoiser = Gaussian(change, flow=True)
    schedule = NoiseSchedule("flow", change, lambda _: sigmas, mu and (lambda _: mu))
    solver = make_solver("flow_euler", schedule, steps)
    scheduler = STOCK["flow_euler"].from_config(dict(change))
    scheduler.set_timesteps(sigmas=sigmas, mu=mu)
    middles, noises = [middle_of(0)] * steps, noises_of(0, steps)
    wanted = stock_trajectory(scheduler, denoiser, draw(0, *SHAPE), middles, noises)
    for ours, theirs in zip(our_trajectory(solver, denoiser, 0), wanted, strict=True):
        assert_near(ours, theirs)


@pytest.mark.parametrize("name", FLOWS[1:])
@few_counts
def test_multistep_solvers_take_a_flows_shift_and_space_it_themselves(
    name: str, steps: int
) -> None:
    config = {"use_dynamic_shifting": True, "shift": 3.0}
    schedule = NoiseSchedule("flow", config, lambda _: [1.0], lambda _: 0.9, euler_only=True)
    denoiser = Gaussian(config, flow=True)
    scheduler = STOCK[name].from_config({**config, **ON_A_FLOW, "flow_shift": 3.0})
    scheduler.set_timesteps(steps, mu=0.9)
    middles = [middle_of(0)] * steps
    wanted = stock_trajectory(scheduler, denoiser, draw(0, *SHAPE), middles, [])
    found = our_trajectory(make_solver(name, schedule, steps), denoiser, 0)
    for ours, theirs in zip(found, wanted, strict=True):
        assert_near(ours, theirs)


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
        assert len(solver.timesteps) == count_evaluations(name, steps)
        assert (solver.timesteps.unique_consecutive().diff() < 0).all()
