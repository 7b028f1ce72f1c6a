"""The subject: the model under evaluation, loaded once, with the embeddings of its prompts.

Knows the two Kandinsky pipelines and the cache of embeddings; knows nothing of judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.calibrated.readings import Look
from hierdiff_core.digest import digest
from hierdiff_core.embedding import Conditioning
from hierdiff_core.evaluation.methods import Method, calibrated_methods
from hierdiff_core.models.kandinsky22 import (
    EMBEDDING,
    Decoder,
    fit_decoder,
    load_decoder,
    load_prior,
)
from hierdiff_core.prompt import Prompt, Recipe
from hierdiff_core.solver import Solver, make_solver
from tasks.evaluation.work_folder import Vectors, WorkFolder

_CHUNK = 128  # prompts that are embedded between two savings
_NEGATIVE = "\0negative"  # no prompt reads so


@dataclass(frozen=True)
class Subject:
    """A pinned recipe, its networks, and embeddings by text."""

    recipe: Recipe
    pipeline: Any  # the decoder's networks
    vectors: dict[str, Vectors] = field(default_factory=dict)
    own: Calibration | None = None  # instead of the model's, for all solvers

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """Return one row for each text."""
        rows = [torch.from_numpy(self.vectors[text]) for text in texts]
        return Conditioning({EMBEDDING: torch.stack(rows)})

    def denoiser(self) -> Decoder:
        """Return the decoder."""
        return fit_decoder(self.pipeline, self.recipe, self.conditioning([_NEGATIVE]))

    def solver(self, name: str, steps: int) -> Solver:
        """Return a solver on the model's noise schedule; raises InvalidSetting."""
        return make_solver(name, dict(self.pipeline.scheduler.config), steps)

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """The ways to plan that this model alone has: by its calibration, if it has one."""
        schedule = dict(self.pipeline.scheduler.config)
        return calibrated_methods(self.calibration, schedule)

    def calibration(self, solver: str) -> Calibration | None:
        """Return what holds for runs of a solver; raises UnknownModel for a damaged file."""
        return self.own or find_calibration(replace(self.recipe, solver=solver))

    @cached_property
    def look(self) -> Look:
        """What embeds a picture as the prior's image encoder does."""
        return load_prior(self.recipe, str(self.pipeline.device)).look


def context(recipe: Recipe, fingerprint: str) -> list[object]:
    """Return what decides results beside a unit: the model, how it is steered, and the judges.

    Solver and steps are a unit's own, and slots change no more than last bits.
    """
    return [
        recipe.revision, recipe.prior_revision, recipe.prior_steps, recipe.prior_guidance,
        recipe.guidance, recipe.negative_prompt, recipe.height, recipe.width, recipe.seed,
        recipe.dtype, fingerprint,
    ]  # fmt: skip


def load_subject(recipe: Recipe, device: str, folder: WorkFolder) -> Subject:
    """Return the subject with the embeddings that are known already; raises UnknownModel."""
    vectors = folder.load_vectors(_cache_name(recipe))
    return Subject(recipe, load_decoder(recipe, device), vectors)


def embed_texts(
    subject: Subject,
    texts: Iterable[str],
    device: str,
    folder: WorkFolder,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Embed the texts that are not known yet, and keep their embeddings.

    `report` hears how many of them are done. Raises UnknownModel.
    """
    missing = [each for each in dict.fromkeys(texts) if each not in subject.vectors]
    if not missing and _NEGATIVE in subject.vectors:
        return
    recipe, prior = subject.recipe, load_prior(subject.recipe, device)
    negative = prior.embed_negative(recipe)
    subject.vectors[_NEGATIVE] = negative.tensors[EMBEDDING][0].numpy()
    for at in range(0, len(missing), _CHUNK):
        prompts = [
            Prompt(row, str(row), text, recipe)
            for row, text in enumerate(missing[at : at + _CHUNK], start=at + 1)
        ]
        for prompt in prompts:
            prior.check_length(prompt)
        for prompt, row in zip(prompts, prior.embed(prompts), strict=True):
            subject.vectors[prompt.text] = row.tensors[EMBEDDING][0].numpy()
        folder.save_vectors(_cache_name(recipe), subject.vectors)
        report(at + len(prompts), len(missing))
    folder.save_vectors(_cache_name(recipe), subject.vectors)


def adopt_embeddings(
    subject: Subject, rows: Mapping[str, Conditioning], negative: Conditioning, folder: WorkFolder
) -> None:
    """Take embeddings by text that were made elsewhere, and keep them for other processes."""
    made = {text: row.tensors[EMBEDDING][0].numpy() for text, row in rows.items()}
    subject.vectors.update(made | {_NEGATIVE: negative.tensors[EMBEDDING][0].numpy()})
    folder.save_vectors(_cache_name(subject.recipe), subject.vectors)


def _cache_name(recipe: Recipe) -> str:
    facts = (
        recipe.prior_revision, recipe.prior_steps, recipe.prior_guidance, recipe.seed,
        recipe.dtype, recipe.negative_prompt,
    )  # fmt: skip
    return digest("evaluation embeddings", *facts)[:16]
