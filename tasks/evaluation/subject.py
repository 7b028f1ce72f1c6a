"""The subject: the model under evaluation, loaded once, with the embeddings of its prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.calibration_file import find_calibration
from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning, Embedding, stack
from hierdiff_core.embedding_cache import (
    EmbeddingCache,
    FolderCache,
    embed_missing,
    find_embeddings,
    find_negative,
)
from hierdiff_core.evaluation.methods import Method, calibrated_methods
from hierdiff_core.models.families import options_of
from hierdiff_core.models.family import EmbedPictures, load_family
from hierdiff_core.models.loaded import Models
from hierdiff_core.models.recipes import load_prompt_check
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import NoiseSchedule, Solver, make_solver
from tasks.evaluation.work_folder import Vectors, WorkFolder


@dataclass(frozen=True)
class Subject:
    """A pinned recipe, its networks, and embeddings by text."""

    recipe: Recipe
    models: Models
    cache: EmbeddingCache
    own: Calibration | None = None  # instead of the model's, for all solvers
    known: dict[str, Embedding] = field(default_factory=dict)  # read from the cache so far

    def embeddings(self, texts: Sequence[str]) -> list[Embedding]:
        """Return the embedding of each text; all must be in the cache."""
        missing = [text for text in dict.fromkeys(texts) if text not in self.known]
        found = find_embeddings(self.cache, [self.prompt(text) for text in missing])
        self.known.update({prompt.text: each for prompt, each in found.items()})
        return [self.known[text] for text in texts]

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors that trees of texts are built on, (N, D)."""
        return np.stack([embedding.vector for embedding in self.embeddings(texts)])

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """Return one row for each text."""
        return stack([embedding.conditioning for embedding in self.embeddings(texts)])

    def denoiser(self) -> Denoiser:
        """Return the model's picture side, fitted to the recipe."""
        return self.models.denoiser(self.recipe, self._negative)

    def solver(self, name: str, steps: int) -> Solver:
        """Return a solver on the model's noise schedule; raises InvalidSetting."""
        return make_solver(name, self.schedule, steps)

    def prompt(self, text: str) -> Prompt:
        """Return a text as a prompt of the recipe."""
        return Prompt(0, "", text, self.recipe)

    @cached_property
    def _negative(self) -> Conditioning:
        found = find_negative(self.cache, self.recipe)
        return found or self.models.encoder(self.recipe).embed_negative(self.recipe)

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The model's noise schedule."""
        return load_family(self.recipe.family).load_schedule(self.recipe)

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """The ways to plan that this model alone has: by its calibration, if it has one."""
        return calibrated_methods(self.calibration, self.schedule)

    def calibration(self, solver: str) -> Calibration | None:
        """Return the calibration for a solver, if any; raises UnknownModel for a damaged file."""
        return self.own or find_calibration(replace(self.recipe, solver=solver))

    @property
    def embed_pictures(self) -> EmbedPictures | None:
        """The embedding of pictures in the space of prompts, if the model's family has one."""
        return self.models.encoder(self.recipe).embed_pictures


def context(recipe: Recipe, fingerprint: str) -> list[object]:
    """Return the facts that decide results beside a unit: model, guidance, size, seed, judges.

    Solver and steps are a unit's own, and slots change no more than last bits.
    """
    options = options_of(recipe.family)
    return [
        recipe.revision,
        recipe.text_revision,
        *(recipe.option(option.name) for option in options if not option.weights),
        recipe.guidance,
        recipe.negative_prompt,
        recipe.height,
        recipe.width,
        recipe.seed,
        recipe.dtype,
        fingerprint,
    ]


def text_model(recipe: Recipe) -> str:
    """Return the model that a recipe's text side is, with which a judge may be shipped."""
    return load_family(recipe.family).text_parts(recipe).model


def load_subject(recipe: Recipe, device: str, folder: WorkFolder) -> Subject:
    """Return the subject; its networks are loaded when they are asked for."""
    return Subject(recipe, Models(device), FolderCache(folder.path / "embeddings"))


def embed_texts(
    subject: Subject,
    texts: Iterable[str],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Embed the texts that are not known yet, and keep their embeddings.

    `report` hears how many of them are done. Raises UnknownModel, PromptTooLong and
    InvalidEmbedding.
    """
    named = enumerate(dict.fromkeys(texts), start=1)
    prompts = [Prompt(row, str(row), text, subject.recipe) for row, text in named]
    check = load_prompt_check(subject.recipe)
    for prompt in prompts:
        check(prompt)
    for fault in embed_missing(prompts, subject.models, subject.cache, report).faults.values():
        raise fault
