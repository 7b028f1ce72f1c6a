"""The protocol of a model family: all that the rest of the code asks of one.

A family has two sides that may run on different machines: the text side makes embeddings of
prompts, the picture side denoises and decodes. To add one, write a module that is a `Family` and
name its pipeline class in `families`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning, Embedding, Slot
from hierdiff_core.models.families import CLASSIFIER, Option, load_module
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import NoiseSchedule

# (B, height, width, 3) -> vectors (B, D)
EmbedPictures = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Defaults:
    """The settings of a model that a recipe takes where it sets none."""

    solver: str
    steps: int
    guidance: float
    height: int  # pixels
    width: int


@dataclass(frozen=True, slots=True)
class Adapter:
    """Weights that are added to a model's."""

    name: str  # folder, file or hub name
    scale: float


@dataclass(frozen=True, slots=True)
class Parts:
    """The files that one side loads: a model's folders, or all of them."""

    model: str
    folders: tuple[str, ...] = ()  # none: the whole model
    adapter: Adapter | None = None
    classifier: str = ""  # folder or hub name; none where it is empty


class Encoder(Protocol):
    """A loaded text side."""

    @property
    def embed_pictures(self) -> EmbedPictures | None:
        """Maps pictures (B, height, width, 3) to vectors (B, D) in the space of prompts' vectors.

        None where pictures and prompts share no space; the model cannot be calibrated then.
        """
        ...

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """Return an embedding for each prompt, which does not depend on the others.

        Tensors have one row; their numbers are float32, masks may be of any type.
        Prompts agree in the options of the text side; their seeds may differ.
        """
        ...

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        """Return the conditioning that guidance steers away from, one row for the whole recipe."""
        ...


class Family(Protocol):
    """A module with these constants and functions."""

    SLOTS: tuple[Slot, ...]  # the tensors of its conditioning
    OPTIONS: tuple[Option, ...]
    TEXT_DRAWS: bool  # whether embedding a prompt draws noise, so that the seed changes it

    def read_defaults(self, model: str) -> Defaults:
        """Return a model's default settings, read from its configs; raises UnknownModel."""
        ...

    def forwards(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the forward passes of the network per row at each step (K,): its price."""
        ...

    def text_parts(self, recipe: Recipe) -> Parts:
        """Return the files that the text side loads, which `text_revision` pins."""
        ...

    def picture_parts(self, recipe: Recipe) -> Parts:
        """Return the files that the picture side loads, which `revision` pins."""
        ...

    def check(self, recipe: Recipe) -> None:
        """Raise InvalidSetting or UnknownModel for an impossible recipe, before reading weights."""
        ...

    def load_check(self, recipe: Recipe) -> Callable[[Prompt], None]:
        """Return a check that raises PromptTooLong for a prompt; loads the tokenizer alone."""
        ...

    def load_schedule(self, recipe: Recipe) -> NoiseSchedule:
        """Return the noise schedule alone, which is enough to plan; raises UnknownModel."""
        ...

    def load_encoder(self, recipe: Recipe, device: str) -> Encoder:
        """Return the text side; raises UnknownModel."""
        ...

    def load_networks(self, recipe: Recipe, device: str, *, compiled: bool) -> Any:
        """Return the picture side, which serves every recipe of a model; raises UnknownModel.

        Compiled networks take minutes for their first calls.
        """
        ...

    def fit(self, networks: Any, recipe: Recipe, negative: Conditioning) -> Denoiser:
        """Return the denoiser of one recipe, with the networks of `load_networks`."""
        ...


def picture_parts(recipe: Recipe) -> Parts:
    """Return all files that the picture side loads: the family's, and those of a classifier."""
    parts = load_family(recipe.family).picture_parts(recipe)
    return replace(parts, classifier=recipe.option(CLASSIFIER.name))


def load_family(name: str) -> Family:
    """Return the family of a name; raises UnknownModel."""
    return cast("Family", load_module(name))
