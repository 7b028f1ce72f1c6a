"""What every solver does for many rows at once, step by step, and what none can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.solver import NoiseSchedule, Solver, make_solver
from hierdiff_core.solvers import SOLVERS

KANDINSKY = {"beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1, "clip_sample": False}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "kandinsky": KANDINSKY,
    "thresholding": KANDINSKY | {"thresholding": True, "sample_max_value": 2.0},
    "clipping": KANDINSKY | {"clip_sample": True, "clip_sample_range": 1.5},
    "trailing": KANDINSKY | {"timestep_spacing": "trailing"},
    "linspace": KANDINSKY | {"timestep_spacing": "linspace"},
    "leading from zero": KANDINSKY | {"steps_offset": 0},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True},
}
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "learned_range")
SHAPE = (4, 6, 6)
OF_NOISE = [name for name, entry in SOLVERS.items() if entry.kind == "diffusion"]
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
few_and_many = pytest.mark.parametrize("steps", [1, 7, 40])


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(name: str, config: Mapping[str, Any], steps: int) -> Solver:
    return make_solver(name, NoiseSchedule("diffusion", config), steps)


def stock(kind: Any, config: Mapping[str, Any], steps: int) -> Any:
    scheduler = kind.from_config(dict(config))
    scheduler.set_timesteps(steps)
    return scheduler


@every_config
@few_and_many
def test_ddim_takes_the_steps_of_diffusers(config: Mapping[str, Any], steps: int) -> None:
    solver, scheduler = made("ddim", config, steps), stock(DDIMScheduler, config, steps)
    assert solver.timesteps.tolist() == scheduler.timesteps.tolist()
    assert not solver.draws_noise
    x, latents = draw(0, *SHAPE), draw(0, *SHAPE)
    for step, t in enumerate(scheduler.timesteps):
        epsilon = draw(step + 1, *SHAPE)
        x = scheduler.step(epsilon[None], int(t), x[None]).prev_sample[0]
        latents = solver.step(latents[None], epsilon[None], None, torch.tensor([step]))[0][0]
        torch.testing.assert_close(latents, x, rtol=1e-5, atol=1e-5)


@every_config
@few_and_many
@pytest.mark.parametrize("variance", VARIANCES)
def test_ddpm_takes_the_steps_of_diffusers(
    monkeypatch: pytest.MonkeyPatch, config: Mapping[str, Any], steps: int, variance: str
) -> None:
    config = {**config, "variance_type": variance}
    solver, scheduler = made("ddpm", config, steps), stock(DDPMScheduler, config, steps)
    assert solver.timesteps.tolist() == scheduler.timesteps.tolist()
    x, latents = draw(0, *SHAPE), draw(0, *SHAPE)
    for step, t in enumerate(scheduler.timesteps):
        noise = draw(100 + step, *SHAPE)
        _inject(monkeypatch, noise)
        prediction = draw(step + 1, 2 * SHAPE[0], *SHAPE[1:])
        told = prediction if variance == "learned_range" else prediction[: SHAPE[0]]
        x = scheduler.step(told[None], t, x[None]).prev_sample[0]
        latents, _ = solver.step(latents[None], prediction[None], noise[None], torch.tensor([step]))
        latents = latents[0]
        torch.testing.assert_close(latents, x, rtol=1e-5, atol=1e-5)


def _inject(monkeypatch: pytest.MonkeyPatch, noise: torch.Tensor) -> None:
    name = "diffusers.schedulers.scheduling_ddpm.randn_tensor"
    monkeypatch.setattr(name, lambda *_, **__: noise[None])


@every_config
@pytest.mark.parametrize("name", OF_NOISE)
def test_rows_at_different_steps_do_not_see_each_other(
    config: Mapping[str, Any], name: str
) -> None:
    solver = made(name, config, 12)
    steps = torch.tensor([11, 0, 5, 5, 3])
    latents, noise = draw(0, 5, *SHAPE) * 2, draw(1, 5, *SHAPE)
    prediction = draw(2, 5, 2 * SHAPE[0], *SHAPE[1:])
    history = tuple(draw(3, 5, *SHAPE) for _ in range(solver.history_size))
    together, past = solver.step(latents, prediction, noise, steps, history)
    for row in range(5):
        one = slice(row, row + 1)
        before = tuple(each[one] for each in history)
        alone, kept = solver.step(latents[one], prediction[one], noise[one], steps[one], before)
        assert torch.equal(together[one], alone)
        assert len(kept) == len(past) == solver.history_size
        assert all(torch.equal(a[one], b) for a, b in zip(past, kept, strict=True))
        shown = solver.scale(latents, steps)[one]
        assert torch.equal(shown, solver.scale(latents[one], steps[one]))


@pytest.mark.parametrize("name", OF_NOISE)
def test_latents_of_any_number_of_dimensions_are_stepped(name: str) -> None:
    solver = made(name, CONFIGS["thresholding"], 5)
    latents, epsilon, noise, past = (draw(seed, 2, 3, 8) for seed in range(4))
    steps, size = torch.tensor([0, 4]), solver.history_size
    flat, _ = solver.step(latents, epsilon, noise, steps, (past,) * size)
    x, f, z, p = (each.view(2, 3, 2, 4) for each in (latents, epsilon, noise, past))
    square, _ = solver.step(x, f, z, steps, (p,) * size)
    assert torch.equal(flat, square.view(2, 3, 8))
    assert flat.dtype == torch.float32


def test_a_config_that_came_with_another_scheduler_class_is_read(denoiser: Any) -> None:
    assert make_solver("ddim", denoiser.noise_schedule, 4).timesteps.tolist() == [751, 501, 251, 1]


@pytest.mark.parametrize(
    ("name", "config", "steps", "message"),
    [
        (
            "heun",
            {},
            5,
            "Setting solver is 'heun': use one of ddim, ddpm, euler, flow_euler, "
            "dpmsolver++, pndm, unipc, lcm, euler_ancestral, flow_dpmsolver++, flow_unipc.",
        ),
        (
            "flow_euler",
            KANDINSKY,
            5,
            "Setting solver is 'flow_euler': the model was not trained by flow matching; "
            "use one of ddim, ddpm, euler, dpmsolver++, pndm, unipc, lcm, euler_ancestral.",
        ),
        (
            "dpmsolver++",
            {"shift": 3.0},
            5,
            "Setting solver is 'dpmsolver++': the model was trained by flow matching; "
            "use one of flow_euler, flow_dpmsolver++, flow_unipc.",
        ),
        (
            "flow_euler",
            {"shift": 1.0, "use_dynamic_shifting": True},
            5,
            "Setting the model's scheduler is 'FlowMatchEulerDiscreteScheduler': diffusers' "
            "FlowMatchEulerDiscreteScheduler refuses it with 5 steps: `mu` must be passed when "
            "`use_dynamic_shifting` is set to be `True`.",
        ),
        (
            "flow_euler",
            {"shift": 1.0, "invert_sigmas": True},
            5,
            "Setting invert_sigmas is True: use False.",
        ),
        ("dpmsolver++", {"solver_order": 3}, 5, "Setting solver_order is 3: use 2."),
        ("unipc", {"solver_order": 3}, 5, "Setting solver_order is 3: use 2."),
        ("pndm", {"skip_prk_steps": False}, 5, "Setting skip_prk_steps is False: use True."),
        (
            "pndm",
            {"prediction_type": "sample"},
            5,
            "Setting prediction_type is 'sample': use one of epsilon, v_prediction, or another "
            "solver.",
        ),
        (
            "pndm",
            {"rescale_betas_zero_snr": True},
            5,
            "Setting rescale_betas_zero_snr is True: use False.",
        ),
        (
            "dpmsolver++",
            {"algorithm_type": "sde-dpmsolver++"},
            5,
            "Setting algorithm_type is 'sde-dpmsolver++': use dpmsolver++.",
        ),
        (
            "ddim",
            {"timestep_spacing": "trailing"},
            61,
            "Setting steps is 61: the model's noise schedule cannot be divided into that "
            "many; use fewer.",
        ),
        (
            "ddim",
            {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
            5,
            "Setting prediction_type is 'epsilon': the noise schedule starts at pure noise, "
            "which needs v_prediction or sample.",
        ),
        ("ddim", {}, 0, "Setting steps is 0: use 1 to 1000."),
        ("ddpm", {}, 1001, "Setting steps is 1001: use 1 to 1000."),
        ("ddim", {"steps_offset": 1}, 1000, "Setting steps is 1000: use 1 to 999."),
        ("ddpm", {"steps_offset": 1}, 1000, "Setting steps is 1000: use 1 to 999."),
        (
            "ddim",
            {"prediction_type": "flow_prediction"},
            5,
            "Setting prediction_type is 'flow_prediction': "
            "use one of epsilon, sample, v_prediction.",
        ),
        (
            "ddpm",
            {"variance_type": "learned"},
            5,
            "Setting variance_type is 'learned': use one of "
            "fixed_small, fixed_small_log, fixed_large, learned_range.",
        ),
    ],
)
def test_what_no_solver_can_do_is_refused_in_one_line(
    name: str, config: Mapping[str, Any], steps: int, message: str
) -> None:
    schedule = NoiseSchedule("flow" if "shift" in config else "diffusion", config)
    with pytest.raises(InvalidSetting) as refusal:
        make_solver(name, schedule, steps)
    assert str(refusal.value) == message
