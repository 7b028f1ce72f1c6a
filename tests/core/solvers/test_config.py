"""What a scheduler's config leaves unsaid: its own class would have done it, or it is refused."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest
import torch

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.noise_levels import noise_levels
from hierdiff_core.solver import NoiseSchedule, make_solver
from hierdiff_core.solvers import SOLVERS
from hierdiff_core.solvers.config import config_of

OF_NOISE = [name for name, entry in SOLVERS.items() if entry.kind == "diffusion"]
OF_SAMPLES = [name for name in OF_NOISE if name not in {"pndm", "euler_ancestral"}]
NEVER_CLIP = (
    "PNDMScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
)
CLIP = ("DDIMScheduler", "DDPMScheduler")
WITHOUT_BETAS = (
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "CMStochasticIterativeScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "ScoreSdeVeScheduler",
    "IPNDMScheduler",
)


def schedule_of(name: str, **fields: object) -> NoiseSchedule:
    return NoiseSchedule("diffusion", {"_class_name": name, **fields})


def predicted_x0(solver: str, schedule: NoiseSchedule) -> torch.Tensor:
    """Return x_0 where the network predicts it as 9 everywhere, far outside of [-1, 1]."""
    made = make_solver(solver, schedule, 4)
    latents, prediction = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 9.0)
    return made.predicted_x0(latents, prediction, torch.tensor([2]))


@pytest.mark.parametrize("solver", OF_SAMPLES)
@pytest.mark.parametrize("name", NEVER_CLIP)
def test_a_picture_is_not_clipped_where_its_models_own_scheduler_never_clips(
    solver: str, name: str
) -> None:
    found = predicted_x0(solver, schedule_of(name, prediction_type="sample"))
    assert torch.equal(found, torch.full((1, 1, 2, 2), 9.0))


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
@pytest.mark.parametrize("name", CLIP)
def test_a_picture_is_clipped_where_its_models_own_scheduler_clips(solver: str, name: str) -> None:
    found = predicted_x0(solver, schedule_of(name, prediction_type="sample"))
    assert torch.equal(found, torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("name", NEVER_CLIP)
def test_a_config_that_says_to_clip_is_followed_whatever_its_class(name: str) -> None:
    schedule = schedule_of(name, prediction_type="sample", clip_sample=True, clip_sample_range=2.0)
    assert torch.equal(predicted_x0("ddim", schedule), torch.full((1, 1, 2, 2), 2.0))


def test_a_scheduler_in_memory_means_what_its_file_means() -> None:
    stated = {"beta_end": 0.012, "prediction_type": "sample"}
    schedule = NoiseSchedule("diffusion", config_of(diffusers.PNDMScheduler.from_config(stated)))
    assert schedule.complete == schedule_of("PNDMScheduler", **stated).complete
    assert torch.equal(predicted_x0("ddim", schedule), torch.full((1, 1, 2, 2), 9.0))


@pytest.mark.parametrize("solver", OF_NOISE)
@pytest.mark.parametrize("name", [*NEVER_CLIP, *CLIP])
def test_betas_that_a_config_leaves_out_are_those_of_its_own_class(solver: str, name: str) -> None:
    defaults = inspect.signature(getattr(diffusers, name).__init__).parameters
    stated: dict[str, Any] = {
        each: defaults[each].default for each in ("beta_start", "beta_end", "beta_schedule")
    }
    silent, spoken = schedule_of(name), schedule_of(name, **stated)
    one, other = (make_solver(solver, each, 5) for each in (silent, spoken))
    assert torch.equal(one.latents.weights, other.latents.weights)  # type: ignore[attr-defined]
    assert (noise_levels(silent, one.timesteps) == noise_levels(spoken, one.timesteps)).all()


@pytest.mark.parametrize("solver", OF_NOISE)
@pytest.mark.parametrize("name", WITHOUT_BETAS)
def test_noise_levels_that_do_not_come_from_betas_are_refused(solver: str, name: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        make_solver(solver, schedule_of(name), 5)
    assert str(refusal.value) == (
        f"Setting the model's scheduler is '{name}': it has no beta_start, which all solvers for "
        "this kind of model start from."
    )


def test_a_class_that_diffusers_does_not_have_is_refused() -> None:
    for name in ("MyScheduler", "UNet2DConditionModel"):
        with pytest.raises(InvalidSetting, match="diffusers has no such scheduler"):
            make_solver("ddim", schedule_of(name), 5)


@pytest.mark.parametrize(
    ("solver", "fields"),
    [
        ("ddim", {"beta_schedule": "made up"}),
        ("ddim", {"beta_start": "high"}),
        ("ddim", {"timestep_spacing": "made up"}),
        ("dpmsolver++", {"use_karras_sigmas": True, "use_exponential_sigmas": True}),
        ("euler", {"interpolation_type": "made up"}),
    ],
)
def test_a_config_that_diffusers_refuses_is_refused_in_one_line(
    solver: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSetting, match="refuses it with 5 steps") as refusal:
        make_solver(solver, schedule_of("PNDMScheduler", **fields), 5)
    assert "\n" not in str(refusal.value)
