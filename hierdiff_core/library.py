"""The method as one call: pictures of a set of prompts, with early steps shared.

No database, no bucket and no orchestrator; no file is read but the model's, none is written. The
nightly run makes the same pictures of the same prompts and plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.budget import Budget, largest_saving
from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning, Embedding, stack
from hierdiff_core.errors import InvalidSetting, RowFailed
from hierdiff_core.forest import Group, group_prompts
from hierdiff_core.keys import node_key
from hierdiff_core.models.family import load_family
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import load_prompt_check, make_recipe, pin_recipe
from hierdiff_core.plan import PAPER, Plan
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt, content_key, read_prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.decode import Pixels, decode_each
from hierdiff_core.sampling.isolate import reason_of
from hierdiff_core.sampling.sampler import Job, rounds
from hierdiff_core.solver import make_solver

SLOTS = 16  # most rows that `auto` denoises at once
SAVING = 0.5  # default saving, where the batch allows it

Progress = Callable[[int, int], None]  # evaluations done, evaluations in total


@dataclass(frozen=True, eq=False)
class Made:
    """Pictures of prompts, in their order, and the plan that made them."""

    pictures: npt.NDArray[np.uint8]  # (N, height, width, 3)
    latents: npt.NDArray[np.float32]  # (N, *latent_shape), as stock pipelines return them
    plan: Plan  # over the distinct prompts

    @property
    def evaluations(self) -> int:
        """Evaluations of the denoiser; a guided pair counts as one."""
        return self.plan.evaluations

    @property
    def saving(self) -> float:
        """Share of the distinct prompts' evaluations that sharing saved."""
        return self.plan.saving


def generate(
    model: str,
    prompts: Sequence[str],
    *,
    saving: float | None = None,
    steps_per_image: float | None = None,
    tau: float | None = None,
    planner: str = "auto",
    steps: int | None = None,
    solver: str | None = None,
    guidance: float | None = None,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    dtype: str = "float32",
    device: str = "auto",
    slots: int | Literal["auto"] = "auto",
    initial_noise: npt.NDArray[np.float32] | torch.Tensor | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Made:
    """Return the pictures of N prompts; equal prompts get one picture.

    Ask for a saving, for mean steps per image, or for a tau of the paper; with none of them half is
    saved, or as much as the batch allows. A parameter that is None takes the model's default.
    `initial_noise` (N, *latent_shape) replaces the draws of roots: a root that several prompts
    share takes the noise of one of them. `options` are those of the model's family. Raises
    UnknownModel, EmptyPrompt, PromptTooLong, InvalidEmbedding, RowFailed for prompts whose latents
    are not finite or whose steps fail, and InvalidSetting for anything else that is not possible.
    """
    recipe = pin_recipe(
        make_recipe(
            model,
            options,
            steps=steps,
            solver=solver,
            guidance=guidance,
            height=height,
            width=width,
            negative_prompt=negative_prompt,
            seed=seed,
            dtype=dtype,
        )
    )
    asked = _read_prompts(prompts, recipe)
    (group,) = group_prompts(asked)
    models = Models(device, checked=False)
    embeddings, negative = _embed(group, models)
    settings = _plan_settings(group, saving, steps_per_image, tau, planner)
    vectors = np.stack([embedding.vector for embedding in embeddings])
    plan = plan_forest([group], [vectors], settings).plan
    denoiser = models.denoiser(recipe, negative)
    leaf_of = {key: leaf for leaf, key in enumerate(group.content_keys)}
    leaves = [leaf_of[content_key(prompt)] for prompt in asked]
    job = Job(
        plan=plan,
        conditioning=stack([embedding.conditioning for embedding in embeddings]),
        content_keys=group.content_keys,
        seed=recipe.seed,
        slots=_read_slots(slots, plan),
        noise=_noise_of_leaves(initial_noise, leaves, denoiser.latent_shape),
        isolate=True,
        forwards=load_family(recipe.family).forwards(recipe),
    )
    latents = _denoise(job, denoiser, group, progress)
    names = [node_key(plan, plan.leaf_segment(leaf), job.content_keys) for leaf in range(plan.size)]
    pictures = _decode(denoiser, latents, names, group)
    return Made(
        np.stack([pictures[leaf] for leaf in leaves]),
        np.stack([latents[leaf].numpy() for leaf in leaves]),
        plan,
    )


def _read_prompts(texts: Sequence[str], recipe: Recipe) -> list[Prompt]:
    if isinstance(texts, str) or not len(texts):
        raise InvalidSetting(setting="prompts", value=texts, hint="give a list of texts")
    check, prompts = load_prompt_check(recipe), []
    for row, text in enumerate(texts, start=1):
        prompts.append(read_prompt(row, {"prompt": text}, recipe))
        check(prompts[-1])
    return prompts


def _embed(group: Group, models: Models) -> tuple[list[Embedding], Conditioning]:
    """Return the leaves' embeddings and the negative one; then release the text side."""
    encoder = models.encoder(group.recipe)
    embedded = encoder.embed(group.prompts), encoder.embed_negative(group.recipe)
    models.forget_encoders()
    return embedded


def _plan_settings(
    group: Group,
    saving: float | None,
    steps_per_image: float | None,
    tau: float | None,
    planner: str,
) -> PlanSettings:
    if [saving, steps_per_image, tau].count(None) < 2:
        hint = "ask for only one of saving, steps_per_image and tau"
        raise InvalidSetting(setting="saving", value=saving, hint=hint)
    if tau is not None:
        return PlanSettings(tau=tau, planner=PAPER if planner == "auto" else planner)
    if saving is None and steps_per_image is None:
        images, steps = len(group.prompts), group.recipe.evaluations
        saving = min(SAVING, largest_saving(images + steps - 1, images, steps))
    return PlanSettings(Budget(saving, steps_per_image), planner=planner)


def _read_slots(slots: int | Literal["auto"], plan: Plan) -> int:
    # More slots than a step fills on average would mostly be padding.
    return max(1, min(SLOTS, plan.evaluations // plan.steps)) if slots == "auto" else slots


def _noise_of_leaves(
    noise: npt.NDArray[np.float32] | torch.Tensor | None,
    leaves: Sequence[int],
    shape: tuple[int, ...],
) -> torch.Tensor | None:
    """Return the noise (N, *latent_shape) of prompts in the order of their leaves."""
    if noise is None:
        return None
    given = torch.as_tensor(noise, dtype=torch.float32)
    if tuple(given.shape) != (len(leaves), *shape):
        hint = f"use the shape {(len(leaves), *shape)}"
        raise InvalidSetting(setting="initial_noise", value=tuple(given.shape), hint=hint)
    first = {leaf: place for place, leaf in reversed(list(enumerate(leaves)))}
    return given[[first[leaf] for leaf in sorted(first)]]


def _denoise(
    job: Job, denoiser: Denoiser, group: Group, progress: Progress | None
) -> list[torch.Tensor]:
    """Return the final latents of each leaf; raises RowFailed where there are none."""
    recipe = group.recipe
    solver = make_solver(recipe.solver, denoiser.noise_schedule, recipe.steps)
    latents, done = dict[int, torch.Tensor](), 0
    for step in rounds(job, denoiser, solver):
        for failed in step.failed:
            texts = [group.prompts[leaf].text for leaf in job.plan.members(failed.segment)]
            raise RowFailed(prompts=", ".join(map(repr, texts)), reason=failed.reason)
        done += step.evaluations
        ends = [end for end in step.finished if job.plan.is_leaf(end.segment)]
        latents |= {job.plan.order[end.segment.first]: end.state.latents for end in ends}
        if progress is not None:
            progress(done, job.plan.evaluations)
    return [latents[leaf] for leaf in range(job.plan.size)]


def _decode(
    denoiser: Denoiser, latents: Sequence[torch.Tensor], names: Sequence[str], group: Group
) -> list[Pixels]:
    """Return the picture of each leaf; raises RowFailed where one cannot be had."""
    pictures = list[Pixels]()
    for prompt, picture in zip(
        group.prompts, decode_each(denoiser, latents, names).pictures, strict=True
    ):
        if isinstance(picture, Exception):
            raise RowFailed(prompts=repr(prompt.text), reason=reason_of(picture))
        pictures.append(picture)
    return pictures
