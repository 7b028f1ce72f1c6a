"""At tau = 0 each picture is the one that the stock Kandinsky 2.2 pipeline makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    KandinskyV22Pipeline,
)

from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning
from hierdiff_core.keys import node_keys
from hierdiff_core.models.guidance import make_guidance
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from hierdiff_core.noise import initial_noise, step_noise
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.schedule import make_schedule
from hierdiff_core.solver import NoiseSchedule, make_solver

K = 6
SIZE = 5
SEED = 21
FIXED: Mapping[str, Any] = {"variance_type": "fixed_small", "clip_sample": False}
KANDINSKY: Mapping[str, Any] = {  # of kandinsky-community/kandinsky-2-2-decoder
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "clip_sample": False,
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 2.0,
    "variance_type": "learned_range",
}
NOISE_SCHEDULES = {
    "fixed variance": KANDINSKY | FIXED | {"thresholding": False},
    "learned variance": KANDINSKY | {"thresholding": False},
    "kandinsky": KANDINSKY,
}
every_schedule = pytest.mark.parametrize("config", NOISE_SCHEDULES.values(), ids=NOISE_SCHEDULES)


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    rows = torch.randn(SIZE, 16, generator=torch.Generator().manual_seed(8))
    return Conditioning({EMBEDDING: rows})


@pytest.fixture(scope="module")
def plan(conditioning: Conditioning) -> Plan:
    return make_plan(build_tree(conditioning.tensors[EMBEDDING].numpy()), make_schedule(K, 0.0))


def names() -> list[str]:
    return [f"prompt {leaf}" for leaf in range(SIZE)]


def ours(
    denoiser: Decoder,
    plan: Plan,
    conditioning: Conditioning,
    solver: str,
    config: Mapping[str, Any],
    slots: int,
) -> dict[int, torch.Tensor]:
    job = Job(plan, conditioning, names(), SEED, slots=slots)
    done = run(job, denoiser, make_solver(solver, NoiseSchedule("diffusion", config), K))
    return {plan.order[each.segment.first]: each.state.latents for each in done}


def theirs(
    denoiser: Decoder,
    plan: Plan,
    conditioning: Conditioning,
    scheduler: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[int, torch.Tensor]:
    """Return the latents of the stock pipeline, called for one picture at a time."""
    stock = KandinskyV22Pipeline(
        unet=denoiser.pipeline.unet, scheduler=scheduler, movq=denoiser.pipeline.movq
    )
    stock.set_progress_bar_config(disable=True)
    shape, found = denoiser.latent_shape, {}
    for segment, key in zip(plan.segments, node_keys(plan, names()), strict=True):
        leaf = plan.order[segment.first]
        noises = (step_noise(SEED, key, step, shape)[None] for step in range(K))
        _inject(monkeypatch, noises)
        found[leaf] = stock(
            image_embeds=conditioning.tensors[EMBEDDING][leaf : leaf + 1],
            negative_image_embeds=denoiser.negative,
            latents=initial_noise(SEED, key, shape)[None],
            height=denoiser.recipe.height,
            width=denoiser.recipe.width,
            num_inference_steps=K,
            guidance_scale=denoiser.recipe.guidance,
            output_type="latent",
        ).images[0]
    return found


def _guided_by(denoiser: Decoder, guidance: float) -> Decoder:
    recipe = replace(denoiser.recipe, guidance=guidance)
    made = make_guidance(recipe, denoiser.noise_schedule)
    return replace(denoiser, recipe=recipe, guidance=made)


def _inject(monkeypatch: pytest.MonkeyPatch, noises: Iterator[torch.Tensor]) -> None:
    name = "diffusers.schedulers.scheduling_ddpm.randn_tensor"
    monkeypatch.setattr(name, lambda *_, **__: next(noises))


def assert_equal(found: Mapping[int, torch.Tensor], wanted: Mapping[int, torch.Tensor]) -> None:
    assert set(found) == set(wanted) == set(range(SIZE))
    for leaf, latents in wanted.items():
        torch.testing.assert_close(found[leaf], latents, rtol=1e-5, atol=1e-5)


@every_schedule
@pytest.mark.parametrize("slots", [1, 3, 8])
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_ddpm_without_sharing_equals_the_stock_pipeline(
    denoiser: Decoder,
    plan: Plan,
    conditioning: Conditioning,
    monkeypatch: pytest.MonkeyPatch,
    config: Mapping[str, Any],
    slots: int,
    guidance: float,
) -> None:
    fitted = _guided_by(denoiser, guidance)
    found = ours(fitted, plan, conditioning, "ddpm", config, slots)
    scheduler = DDPMScheduler.from_config(dict(config))
    assert_equal(found, theirs(fitted, plan, conditioning, scheduler, monkeypatch))


@every_schedule
@pytest.mark.parametrize("slots", [1, 3, 8])
@pytest.mark.parametrize(
    ("name", "kind"), [("ddim", DDIMScheduler), ("dpmsolver++", DPMSolverMultistepScheduler)]
)
def test_other_solvers_without_sharing_equal_the_stock_pipeline_with_their_scheduler_in_it(
    denoiser: Decoder,
    plan: Plan,
    conditioning: Conditioning,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: Any,
    config: Mapping[str, Any],
    slots: int,
) -> None:
    found = ours(denoiser, plan, conditioning, name, config, slots)
    # A scheduler that knows no variance is told of none, or the pipeline would hand it one.
    told = {name: value for name, value in config.items() if name != "variance_type"}
    scheduler = kind.from_config(told)
    assert_equal(found, theirs(denoiser, plan, conditioning, scheduler, monkeypatch))


def test_pictures_equal_the_stock_pipelines_to_the_byte(denoiser: Decoder) -> None:
    latents = torch.randn(3, *denoiser.latent_shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        decoded = denoiser.pipeline.movq.decode(latents, force_not_quantize=True)["sample"]
    stock = (decoded * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    wanted = np.stack([np.asarray(each) for each in denoiser.pipeline.numpy_to_pil(stock)])
    np.testing.assert_array_equal(denoiser.decode(latents, "abc"), wanted)


def test_guidance_above_one_steers_away_from_the_negative(denoiser: Decoder) -> None:
    latents, timesteps = torch.ones(2, *denoiser.latent_shape), torch.tensor([501, 901])
    embeds = {EMBEDDING: torch.randn(2, 16, generator=torch.Generator().manual_seed(3))}
    negative = {EMBEDDING: denoiser.negative.expand(2, -1)}
    with torch.no_grad():
        guided = denoiser.predict(latents, timesteps, embeds)
        c = _guided_by(denoiser, 1.0).predict(latents, timesteps, embeds)
        u = _guided_by(denoiser, 1.0).predict(latents, timesteps, negative)
    wanted = torch.cat([u[:, :4] + 4 * (c[:, :4] - u[:, :4]), c[:, 4:]], dim=1)
    torch.testing.assert_close(guided, wanted, rtol=1e-5, atol=1e-5)
