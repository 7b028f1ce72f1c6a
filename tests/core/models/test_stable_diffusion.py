"""Stable Diffusion: pictures are the stock pipeline's, and each side follows its own files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)

from hierdiff_core.checkpoint import State, pack, unpack
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.embedding import Conditioning, Embedding, stack
from hierdiff_core.errors import InvalidSetting, PromptTooLong, UnknownModel, WrongType
from hierdiff_core.keys import node_key
from hierdiff_core.models.picture_side import PictureSide
from hierdiff_core.models.recipes import load_prompt_check, make_recipe, pin_recipe
from hierdiff_core.models.stable_diffusion import (
    PICTURE,
    TEXT,
    TOKENS,
    fit,
    load_check,
    load_encoder,
    load_networks,
    load_schedule,
)
from hierdiff_core.models.text_side import TextSide
from hierdiff_core.noise import initial_noise
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.sampler import Finished, Job, run
from hierdiff_core.schedule import make_schedule
from hierdiff_core.solver import make_solver
from tests.core.recipes import change

K = 7
SEED = 3
TEXTS = ("a red cup", "a blue cup", "a red hat", "two pink pots", "a pot", "", "a cup, a hat, pots")
STOCK: Mapping[str, Any] = {
    "pndm": PNDMScheduler,
    "ddim": DDIMScheduler,
    "dpmsolver++": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}
NEAR = 1e-5  # of the latents' size; 1.5e-6 was the most that was measured


@dataclass(frozen=True)
class Loaded:
    """Both sides, loaded, and the stock pipeline from the same folder."""

    folder: Path
    encoder: TextSide
    networks: Any
    stock: StableDiffusionPipeline
    own: Any  # the scheduler that the folder names

    def recipe(self, **changes: Any) -> Recipe:
        return make_recipe(str(self.folder), **({"steps": K, "seed": SEED} | changes))

    def denoiser(self, recipe: Recipe) -> PictureSide:
        return fit(self.networks, recipe, self.encoder.embed_negative(recipe))


@pytest.fixture(scope="module")
def sd(stable_diffusion: Path) -> Loaded:
    recipe, stock = make_recipe(str(stable_diffusion)), load_stock(stable_diffusion)
    encoder, networks = load_encoder(recipe, "cpu"), load_networks(recipe, "cpu")
    return Loaded(stable_diffusion, encoder, networks, stock, stock.scheduler)


def load_stock(folder: Path) -> StableDiffusionPipeline:
    stock = StableDiffusionPipeline.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    return stock


def prompts_of(recipe: Recipe, texts: Sequence[str] = TEXTS) -> list[Prompt]:
    return [Prompt(row, "", text, recipe) for row, text in enumerate(texts, start=1)]


def tokens_of(rows: Sequence[Embedding]) -> Conditioning:
    return stack([row.conditioning for row in rows])


def make_job(sd: Loaded, recipe: Recipe, share: float, **changes: Any) -> Job:
    """Return a job in which prompts share up to a share of the tree's height."""
    rows = sd.encoder.embed(prompts_of(recipe))
    tree = build_tree(np.stack([row.vector for row in rows]), keys=TEXTS)
    tau = share * float(tree.heights[-1])
    plan = make_plan(tree, make_schedule(recipe.evaluations, tau))
    fields = {"seed": recipe.seed, "slots": 3} | changes
    return Job(plan, tokens_of(rows), TEXTS, **fields)


def ours(sd: Loaded, recipe: Recipe) -> torch.Tensor:
    """Return the final latents of all prompts, none of whose steps are shared."""
    job, denoiser = make_job(sd, recipe, 0.0), sd.denoiser(recipe)
    solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
    done = {each.segment.id: each.state.latents for each in run(job, denoiser, solver)}
    return torch.stack([done[job.plan.leaf_segment(leaf).id] for leaf in range(len(TEXTS))])


def theirs(sd: Loaded, recipe: Recipe) -> torch.Tensor:
    """Return those of the stock pipeline, called for one picture at a time from our noise."""
    # As diffusers' users put another scheduler into a pipeline.
    sd.stock.scheduler = STOCK[recipe.solver].from_config(sd.own.config)
    denoiser, found = sd.denoiser(recipe), []
    plan = make_job(sd, recipe, 0.0).plan
    for leaf, text in enumerate(TEXTS):
        found.append(
            sd.stock(
                text,
                height=recipe.height,
                width=recipe.width,
                num_inference_steps=recipe.steps,
                guidance_scale=recipe.guidance,
                negative_prompt=recipe.negative_prompt or None,
                latents=initial_noise(SEED, key_of(plan, leaf), denoiser.latent_shape)[None],
                output_type="latent",
            ).images[0]
        )
    return torch.stack(found)


def key_of(plan: Plan, leaf: int) -> str:
    return node_key(plan, plan.leaf_segment(leaf), TEXTS)


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference of a number, in the size of its picture's latents."""
    size = wanted.flatten(1).abs().amax(dim=1)
    return float(((found - wanted).flatten(1).abs().amax(dim=1) / size).max())


@pytest.mark.parametrize("solver", STOCK)
@pytest.mark.parametrize("guidance", [7.5, 1.0])
@pytest.mark.parametrize("negative", ["", "a blur"])
def test_without_sharing_latents_equal_those_of_the_stock_pipeline(
    sd: Loaded, solver: str, guidance: float, negative: str
) -> None:
    recipe = sd.recipe(solver=solver, guidance=guidance, negative_prompt=negative)
    assert distance(ours(sd, recipe), theirs(sd, recipe)) < NEAR


def test_pictures_of_another_shape_equal_those_of_the_stock_pipeline(sd: Loaded) -> None:
    recipe = sd.recipe(height=40, width=24)
    found = ours(sd, recipe)
    assert found.shape[1:] == (4, 10, 6)
    assert distance(found, theirs(sd, recipe)) < NEAR


def test_latents_follow_the_words_the_guidance_and_what_it_steers_away_from(sd: Loaded) -> None:
    recipe = sd.recipe()
    plain = ours(sd, recipe)
    for other in ({"guidance": 1.0}, {"negative_prompt": "a blur"}):
        assert distance(ours(sd, sd.recipe(**other)), plain) > 0.01
    denoiser, words = sd.denoiser(recipe), tokens_of(sd.encoder.embed(prompts_of(recipe)))
    latents = torch.ones(len(TEXTS), *denoiser.latent_shape)
    with torch.no_grad():
        found = denoiser.predict(latents, torch.full((len(TEXTS),), 501), words.tensors)
    assert torch.pdist(found.flatten(1)).min() > 0.01


@pytest.mark.parametrize("solver", STOCK)
@pytest.mark.parametrize(
    "fields",
    [
        {"prediction_type": "v_prediction"},
        {"timestep_spacing": "leading"},
        {"timestep_spacing": "trailing"},
        {"beta_schedule": "linear", "set_alpha_to_one": True},
    ],
    ids=str,
)
def test_another_noise_schedule_is_followed_as_the_stock_pipeline_does(
    sd: Loaded, tmp_path: Path, solver: str, fields: Mapping[str, Any]
) -> None:
    folder = with_scheduler(sd, tmp_path / "other", fields)
    stock = load_stock(folder)
    other = replace(sd, folder=folder, stock=stock, own=stock.scheduler)
    recipe = other.recipe(solver=solver)
    assert distance(ours(other, recipe), theirs(other, recipe)) < NEAR


def with_scheduler(sd: Loaded, place: Path, fields: Mapping[str, Any]) -> Path:
    """Copy the folder, with other settings of its scheduler; those that are None are left out."""
    folder = Path(shutil.copytree(sd.folder, place))
    config = folder / "scheduler/scheduler_config.json"
    changed = json.loads(config.read_text()) | fields
    config.write_text(
        json.dumps({name: each for name, each in changed.items() if each is not None})
    )
    return folder


def test_an_outdated_config_is_corrected_as_the_stock_pipeline_does(
    sd: Loaded, tmp_path: Path
) -> None:
    folder = with_scheduler(sd, tmp_path / "old", {"steps_offset": None, "clip_sample": None})
    old, new = load_schedule(make_recipe(str(folder))), load_schedule(sd.recipe())
    for name in ("ddim", "ddpm", "dpmsolver++", "euler"):
        one, other = make_solver(name, old, K), make_solver(name, new, K)
        assert torch.equal(one.timesteps, other.timesteps)
        x0, epsilon, steps = (
            torch.full((1, 4, 2, 2), 9.0),
            torch.ones(1, 4, 2, 2),
            torch.tensor([0]),
        )
        assert torch.equal(
            one.predicted_x0(x0, epsilon, steps), other.predicted_x0(x0, epsilon, steps)
        )


def test_decoded_pictures_equal_the_stock_pipelines_to_the_byte(sd: Loaded) -> None:
    denoiser = sd.denoiser(sd.recipe())
    draws = torch.Generator().manual_seed(2)
    latents = torch.randn(3, *denoiser.latent_shape, generator=draws)
    vae = sd.stock.vae
    with torch.no_grad():
        decoded = vae.decode(latents / vae.config.scaling_factor).sample
    wanted = [np.asarray(each) for each in sd.stock.image_processor.postprocess(decoded)]
    np.testing.assert_array_equal(denoiser.decode(latents, "abc"), np.stack(wanted))


def test_a_rows_bits_do_not_depend_on_its_neighbours(sd: Loaded) -> None:
    recipe = sd.recipe(solver="ddim")
    job, denoiser = make_job(sd, recipe, 0.9), sd.denoiser(recipe)
    solver = make_solver("ddim", denoiser.noise_schedule, K)
    assert len(job.plan.segments) > len(TEXTS)
    together = {each.segment.id: each.state.latents for each in run(job, denoiser, solver)}
    for leaf in range(len(TEXTS)):
        path = {each.id for each in job.plan.path(job.plan.leaf_segment(leaf))}
        done = run(replace(job, only=path), denoiser, solver)
        alone = {each.segment.id: each.state.latents for each in done}
        assert set(alone) == path
        assert all(torch.equal(alone[each], together[each]) for each in path)


@pytest.mark.parametrize("name", ["ddim", "dpmsolver++", "pndm"])
def test_resuming_after_any_segment_changes_no_bit(sd: Loaded, name: str) -> None:
    recipe = sd.recipe(solver=name)
    job, denoiser = make_job(sd, recipe, 0.9), sd.denoiser(recipe)
    solver = make_solver(name, denoiser.noise_schedule, K)
    whole = list(run(job, denoiser, solver))
    wanted = {each.segment.id: each.state.latents for each in whole}
    for cut in range(len(whole) + 1):
        rest = list(run(job, denoiser, solver, through_bytes(whole[:cut])))
        assert len(rest) == len(whole) - cut
        assert all(torch.equal(each.state.latents, wanted[each.segment.id]) for each in rest)


def through_bytes(done: Sequence[Finished]) -> dict[int, State]:
    return {each.segment.id: unpack(pack({"it": each.state}))["it"] for each in done}


def test_an_embedding_does_not_depend_on_company(sd: Loaded) -> None:
    prompts = prompts_of(sd.recipe(), [*TEXTS, "one more", "and one more"])
    together = sd.encoder.embed(prompts)
    assert len(together) == 9  # more than one call
    for prompt, row in zip(prompts, together, strict=True):
        (alone,) = sd.encoder.embed([prompt])
        assert torch.equal(alone.conditioning.tensors[TOKENS], row.conditioning.tensors[TOKENS])
        assert alone.vector.tobytes() == row.vector.tobytes()


def test_an_embedding_is_what_the_stock_pipeline_encodes(sd: Loaded) -> None:
    prompts = prompts_of(sd.recipe())
    for prompt, row in zip(prompts, sd.encoder.embed(prompts), strict=True):
        stock, _ = sd.stock.encode_prompt(prompt.text, "cpu", 1, False)
        found = row.conditioning.tensors[TOKENS]
        assert (found.shape, found.dtype) == ((1, 24, 16), torch.float32)
        torch.testing.assert_close(found, stock, rtol=1e-5, atol=1e-5)


def test_trees_stand_on_the_end_tokens_state(sd: Loaded) -> None:
    prompts = prompts_of(sd.recipe())
    for prompt, row in zip(prompts, sd.encoder.embed(prompts), strict=True):
        tokens = sd.stock.tokenizer(prompt.text).input_ids
        states = row.conditioning.tensors[TOKENS][0]
        np.testing.assert_array_equal(row.vector, states[len(tokens) - 1].numpy())
        read = sd.stock.tokenizer(prompt.text, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            pooled = sd.stock.text_encoder(read.input_ids).pooler_output[0]
        np.testing.assert_allclose(row.vector, pooled.numpy(), rtol=1e-5, atol=1e-5)
        assert row.vector.dtype == np.float32


def test_what_guidance_steers_away_from_is_encoded_as_a_prompt_is(sd: Loaded) -> None:
    for text in ("", "a blur"):
        negative = sd.encoder.embed_negative(sd.recipe(negative_prompt=text))
        (row,) = sd.encoder.embed(prompts_of(sd.recipe(), [text]))
        assert torch.equal(negative.tensors[TOKENS], row.conditioning.tensors[TOKENS])


def test_a_seed_changes_no_embedding(sd: Loaded) -> None:
    one, other = (
        sd.encoder.embed(prompts_of(sd.recipe(seed=seed), ["a cup"]))[0] for seed in (1, 2)
    )
    assert one.vector.tobytes() == other.vector.tobytes()


def test_no_space_is_shared_with_pictures(sd: Loaded) -> None:
    assert sd.encoder.embed_pictures is None


@pytest.mark.parametrize("name", ["height", "width"])
@pytest.mark.parametrize("size", [30, 1, 33])
def test_a_size_that_no_latents_make_is_refused(sd: Loaded, name: str, size: int) -> None:
    with pytest.raises(InvalidSetting) as refused:
        sd.recipe(**{name: size})
    assert str(refused.value) == f"Setting {name} is {size}: use a multiple of 4."


def test_a_prompt_that_would_be_cut_is_refused_by_its_row(sd: Loaded) -> None:
    fits, long = "x" * 22, "x" * 23  # between a start and an end token
    recipe = sd.recipe()
    check = load_check(recipe)
    check(Prompt(4, "", fits, recipe))
    with pytest.raises(PromptTooLong) as refused:
        check(Prompt(4, "", long, recipe))
    assert str(refused.value) == (
        "Row 4: the prompt has 25 tokens, the text encoder reads 24; shorten it."
    )
    with pytest.raises(PromptTooLong, match=r"^Row 5: "):
        check(Prompt(5, "", fits, change(recipe, negative_prompt=long)))


def half_of(sd: Loaded, parts: Sequence[str], place: Path) -> Recipe:
    """Return a recipe of a folder that has no other parts."""
    place.mkdir()
    shutil.copy(sd.folder / "model_index.json", place)
    for part in parts:
        shutil.copytree(sd.folder / part, place / part)
    return change(sd.recipe(), model=str(place))


def test_each_side_is_loaded_from_a_folder_that_lacks_the_other(sd: Loaded, tmp_path: Path) -> None:
    text, picture = half_of(sd, TEXT, tmp_path / "a"), half_of(sd, PICTURE, tmp_path / "b")
    (row,) = load_encoder(text, "cpu").embed(prompts_of(text, ["a cup"]))
    (wanted,) = sd.encoder.embed(prompts_of(text, ["a cup"]))
    assert torch.equal(row.conditioning.tensors[TOKENS], wanted.conditioning.tensors[TOKENS])
    load_check(text)(prompts_of(text)[0])
    negative = sd.encoder.embed_negative(picture)
    denoiser = fit(load_networks(picture, "cpu"), picture, negative)
    assert denoiser.noise_schedule == load_schedule(sd.recipe())
    latents, timesteps = torch.ones(1, *denoiser.latent_shape), torch.tensor([501])
    with torch.no_grad():
        found = denoiser.predict(latents, timesteps, row.conditioning.tensors)
        whole = sd.denoiser(picture).predict(latents, timesteps, row.conditioning.tensors)
    assert torch.equal(found, whole)
    for load in (lambda: load_encoder(picture, "cpu"), lambda: load_networks(text, "cpu")):
        with pytest.raises(UnknownModel, match="is missing"):
            load()


@pytest.mark.parametrize("part", [*TEXT, *PICTURE])
def test_each_revision_follows_the_files_of_its_own_side(
    sd: Loaded, tmp_path: Path, part: str
) -> None:
    folder = Path(shutil.copytree(sd.folder, tmp_path / "changed"))
    before = pin_recipe(make_recipe(str(folder)))
    assert (before.revision, before.text_revision) == (
        (whole := pin_recipe(sd.recipe())).revision,
        whole.text_revision,
    )
    file = next(each for each in sorted((folder / part).iterdir()) if each.suffix == ".json")
    file.write_text(file.read_text() + "\n")
    after = pin_recipe(make_recipe(str(folder)))
    assert (after.text_revision != before.text_revision) == (part in TEXT)
    assert (after.revision != before.revision) == (part in PICTURE)


def test_networks_are_loaded_in_the_precision_of_the_recipe(sd: Loaded) -> None:
    recipe = sd.recipe(dtype="bfloat16")
    networks, encoder = load_networks(recipe, "cpu"), load_encoder(recipe, "cpu")
    assert networks.unet.dtype == networks.vae.dtype == torch.bfloat16
    (row,) = encoder.embed(prompts_of(recipe, ["a cup"]))
    assert (row.vector.dtype, row.conditioning.tensors[TOKENS].dtype) == (np.float32, torch.float32)
    denoiser = fit(networks, recipe, encoder.embed_negative(recipe))
    with torch.no_grad():
        latents, timesteps = torch.ones(1, *denoiser.latent_shape), torch.tensor([1])
        assert denoiser.predict(latents, timesteps, row.conditioning.tensors).dtype is torch.float32
    assert denoiser.decode(latents, "a").shape == (1, 32, 32, 3)


def test_a_row_that_asks_for_a_size_that_cannot_be_made_is_refused_by_its_number(
    sd: Loaded,
) -> None:
    recipe = sd.recipe()
    check = load_prompt_check(recipe)
    check(Prompt(4, "", "a red cup", recipe))
    with pytest.raises(WrongType, match="Row 5: column 'width' holds 30, not a multiple of 4"):
        check(Prompt(5, "", "a red cup", replace(recipe, width=30)))
