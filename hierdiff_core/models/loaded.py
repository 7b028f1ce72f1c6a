"""Models in memory: each side is loaded once, and only with the weights it was pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.embedding import Conditioning, Embedding, Slot, as_read
from hierdiff_core.models.device import HOST, bring
from hierdiff_core.models.families import CLASSIFIER, COMMON
from hierdiff_core.models.family import (
    EmbedPictures,
    Encoder,
    Parts,
    load_family,
    picture_parts,
)
from hierdiff_core.models.recipes import check_revision
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Recipe

# Picture sides in main memory, for this process and those that are forked from it.
_HELD: dict[tuple[object, ...], Any] = {}


def hold_networks(recipe: Recipe, digests: Path | None = None) -> None:
    """Read a recipe's picture side into main memory, where `Models` find it instead of reading it.

    Touches no device. Raises UnknownModel, WrongRevision.
    """
    check_revision(picture_parts(recipe), recipe.revision, digests)
    family = load_family(recipe.family)
    _HELD[_picture_key(recipe)] = family.load_networks(recipe, HOST, compiled=False)


def _picture_key(recipe: Recipe) -> tuple[object, ...]:
    return ("picture", recipe.family, picture_parts(recipe), recipe.revision, recipe.dtype)


@dataclass(frozen=True)
class AsRead:
    """A text side whose embeddings are as the networks of a recipe read them; an Encoder."""

    encoder: Encoder
    slots: Sequence[Slot]
    dtype: torch.dtype

    @property
    def embed_pictures(self) -> EmbedPictures | None:
        """See Encoder."""
        return self.encoder.embed_pictures

    def embed(self, prompts: Sequence[Prompt]) -> list[Embedding]:
        """See Encoder."""
        rows = self.encoder.embed(prompts)
        return [replace(row, conditioning=self._read(row.conditioning)) for row in rows]

    def embed_negative(self, recipe: Recipe) -> Conditioning:
        """See Encoder."""
        return self._read(self.encoder.embed_negative(recipe))

    def _read(self, conditioning: Conditioning) -> Conditioning:
        return as_read(conditioning, self.slots, self.dtype)


@dataclass
class Models:
    """Encoders and networks, loaded when they are first needed and then kept."""

    device: str = "auto"
    compiled: bool = False
    digests: Path | None = None  # file that caches the digests of weights
    checked: bool = True  # whether weights are compared with the revision they were pinned to
    _loaded: dict[tuple[object, ...], Any] = field(default_factory=dict)

    def encoder(self, recipe: Recipe) -> Encoder:
        """Return the text side of a recipe; raises UnknownModel, WrongRevision."""
        family = load_family(recipe.family)
        parts = family.text_parts(recipe)
        key = ("text", recipe.family, parts, recipe.text_revision, recipe.dtype)
        if key not in self._loaded:
            self._check(parts, recipe.text_revision)
            loaded = family.load_encoder(recipe, self.device)
            self._loaded[key] = AsRead(loaded, family.SLOTS, getattr(torch, recipe.dtype))
        encoder: Encoder = self._loaded[key]
        return encoder

    def denoiser(self, recipe: Recipe, negative: Conditioning) -> Denoiser:
        """Return the picture side, fitted to a recipe; raises UnknownModel, WrongRevision."""
        family, key = load_family(recipe.family), _picture_key(recipe)
        if key not in self._loaded:
            self._loaded[key] = self._load_networks(recipe)
        return self._inspected(family.fit(self._loaded[key], recipe, negative), recipe)

    def _inspected(self, denoiser: Denoiser, recipe: Recipe) -> Denoiser:
        """Return a denoiser whose pictures the recipe's classifier looks at, where it has one."""
        if not recipe.option(CLASSIFIER.name):
            return denoiser
        from hierdiff_core.models.classifier import Inspected, load_classifier

        asked = (recipe.option(option.name) for option in COMMON)
        key = ("classifier", *asked, recipe.revision)
        if key not in self._loaded:
            self._loaded[key] = load_classifier(recipe, denoiser.device)
        return Inspected(denoiser, self._loaded[key])

    def _load_networks(self, recipe: Recipe) -> Any:
        held = None if self.compiled else _HELD.get(_picture_key(recipe))
        if held is not None:  # and was checked when it was read
            return bring(held, recipe, self.device)
        family = load_family(recipe.family)
        self._check(picture_parts(recipe), recipe.revision)
        return family.load_networks(recipe, self.device, compiled=self.compiled)

    def _check(self, parts: Parts, wanted: str) -> None:
        if self.checked:
            check_revision(parts, wanted, self.digests)

    def forget_encoders(self) -> None:
        """Release the text sides, so that the picture side has their memory."""
        for key in [key for key in self._loaded if key[0] == "text"]:
            del self._loaded[key]
