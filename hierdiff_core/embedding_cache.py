"""Embedding with a cache: a known prompt is never embedded again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.embedding import Conditioning, Embedding, pack, unpack
from hierdiff_core.errors import InvalidEmbedding
from hierdiff_core.models.family import Encoder
from hierdiff_core.models.loaded import Models
from hierdiff_core.prompt import Prompt, embedding_key, negative_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.sampling.isolate import by_halves, reason_of, try_call
from hierdiff_core.whole_file import write_whole

# Prompts per write to the cache: a crash repeats at most these.
_CHUNK = 64
_NOWHERE = np.zeros(1, np.float32)  # the vector of a negative prompt, which is in no tree
_FOUND = 512  # embeddings that are read from a cache at once

Item = TypeVar("Item")


class EmbeddingCache(Protocol):
    """Packed embeddings by key, wherever they are kept."""

    def known(self, keys: Collection[str]) -> Collection[str]:
        """Return the keys of embeddings that the cache holds, without reading what steers."""
        ...

    def vectors(self, keys: Collection[str]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return the vectors (D,) that the cache holds, by key."""
        ...

    def find(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Return the embeddings that the cache holds, by key."""
        ...

    def keep(self, rows: Mapping[str, bytes]) -> None:
        """Keep embeddings under their keys."""
        ...


@dataclass(frozen=True)
class FolderCache:
    """An EmbeddingCache in a folder, one file per embedding."""

    folder: Path

    def known(self, keys: Collection[str]) -> Collection[str]:
        """See EmbeddingCache."""
        return {key for key in keys if self._file(key).is_file()}

    def vectors(self, keys: Collection[str]) -> Mapping[str, npt.NDArray[np.float32]]:
        """See EmbeddingCache."""
        vectors: dict[str, npt.NDArray[np.float32]] = {}
        for chunk in _chunks(sorted(keys), _FOUND):
            # Copied, since a view would hold the whole embedding.
            vectors |= {key: unpack(row).vector.copy() for key, row in self.find(chunk).items()}
        return vectors

    def find(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """See EmbeddingCache."""
        files = {key: self._file(key) for key in keys}
        return {key: file.read_bytes() for key, file in files.items() if file.is_file()}

    def keep(self, rows: Mapping[str, bytes]) -> None:
        """See EmbeddingCache; an interruption loses no file that is already written."""
        for key, body in rows.items():
            write_whole(self._file(key), body)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


@dataclass(frozen=True)
class Embedded:
    """The outcome of `embed_missing`."""

    made: int  # embeddings that were not in the cache
    faults: Mapping[Prompt, InvalidEmbedding]  # prompts whose embedding cannot be used


def embed_missing(
    prompts: Sequence[Prompt],
    models: Models,
    cache: EmbeddingCache,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Embedded:
    """Put the embedding of every prompt, and of every recipe's negative prompt, into the cache.

    `report(done, total)` counts the missing ones. An embedding that cannot be used is not kept. A
    prompt that the encoder fails for costs its own rows alone; raises the encoder's error where it
    fails for a negative prompt too. Raises UnknownModel, WrongRevision.
    """
    missing = _missing(prompts, cache)
    without = _embed_negatives({prompt.recipe for prompt in prompts}, models, cache)
    done, bad = 0, dict[str, str]()
    for alike in _by_encoder(missing):
        for chunk in _chunks(alike, _CHUNK):
            made = _embed(models.encoder(chunk[0].recipe), chunk)
            good = {key: pack(row) for key, row in made.items() if isinstance(row, Embedding)}
            cache.keep(good)
            bad |= {key: row for key, row in made.items() if isinstance(row, str)}
            done += len(chunk)
            report(done, len(missing))
    wrong = [prompt for prompt in prompts if embedding_key(prompt) in bad]
    faults = {
        each: InvalidEmbedding(row=each.row, reason=bad[embedding_key(each)]) for each in wrong
    }
    for each in prompts:
        if (key := negative_key(each.recipe)) in without:
            faults[each] = InvalidEmbedding(row=each.row, reason=without[key])
    return Embedded(len(missing), faults)


def find_embeddings(cache: EmbeddingCache, prompts: Iterable[Prompt]) -> dict[Prompt, Embedding]:
    """Return the embeddings that the cache holds."""
    keys = {prompt: embedding_key(prompt) for prompt in prompts}
    found = cache.find(set(keys.values()))
    return {prompt: unpack(found[key]) for prompt, key in keys.items() if key in found}


def find_vectors(
    cache: EmbeddingCache, prompts: Iterable[Prompt]
) -> dict[Prompt, npt.NDArray[np.float32]]:
    """Return the vectors (D,) that are known; what steers may be a thousand times as large."""
    keys = {prompt: embedding_key(prompt) for prompt in prompts}
    vectors = cache.vectors(set(keys.values()))
    return {prompt: vectors[key] for prompt, key in keys.items() if key in vectors}


def find_negative(cache: EmbeddingCache, recipe: Recipe) -> Conditioning | None:
    """Return the negative conditioning, or None where the cache does not hold it."""
    key = negative_key(recipe)
    found = cache.find([key])
    return unpack(found[key]).conditioning if key in found else None


def _missing(prompts: Sequence[Prompt], cache: EmbeddingCache) -> list[Prompt]:
    distinct = {embedding_key(prompt): prompt for prompt in prompts}
    known = cache.known(distinct.keys())
    return [prompt for key, prompt in sorted(distinct.items()) if key not in known]


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _embed_negatives(recipes: set[Recipe], models: Models, cache: EmbeddingCache) -> dict[str, str]:
    """Keep the negative embeddings; return by key why there is none that can be used."""
    failed: dict[str, str] = {}
    keys = {negative_key(recipe): recipe for recipe in recipes}
    known = cache.known(keys.keys())
    for key, recipe in sorted(keys.items()):
        if key not in known:
            encoder = models.encoder(recipe)
            negative = try_call(partial(encoder.embed_negative, recipe))
            if isinstance(negative, Exception):
                encoder.embed_negative(replace(recipe, negative_prompt=""))  # or it is to blame
                failed[key] = f"of the negative prompt could not be made ({reason_of(negative)})"
                continue
            cache.keep({key: pack(Embedding(_NOWHERE, negative))})
    return failed


def _by_encoder(prompts: Iterable[Prompt]) -> list[list[Prompt]]:
    """Return prompts in groups that one encoder embeds together."""
    groups: dict[object, list[Prompt]] = {}
    for prompt in prompts:
        recipe = prompt.recipe
        text_side = (
            recipe.family,
            recipe.model,
            recipe.text_revision,
            recipe.options,
            recipe.dtype,
        )
        groups.setdefault(text_side, []).append(prompt)
    return list(groups.values())


def _embed(encoder: Encoder, prompts: list[Prompt]) -> dict[str, Embedding | str]:
    """Return by key the embeddings, or why there is none that can be used."""
    made: dict[str, Embedding | str] = {}
    for part, outcome in by_halves(prompts, encoder.embed):
        if isinstance(outcome, Exception):
            encoder.embed_negative(part[0].recipe)  # raises where no prompt is to blame
            made[embedding_key(part[0])] = f"could not be made ({reason_of(outcome)})"
            continue
        for prompt, embedding in zip(part, outcome, strict=True):
            made[embedding_key(prompt)] = _fault(embedding) or embedding
    return made


def _fault(embedding: Embedding) -> str:
    """Return why an embedding cannot be used, or nothing."""
    try:
        check_vectors(embedding.vector[None])
    except InvalidEmbedding as fault:
        return str(fault.facts["reason"])
    finite = (torch.isfinite(each).all() for each in embedding.conditioning.tensors.values())
    return "" if all(finite) else "is not finite"
