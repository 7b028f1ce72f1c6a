"""Embedding with a cache: a known prompt is never embedded again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.embedding import Conditioning, Embedding, pack, unpack
from hierdiff_core.errors import InvalidEmbedding
from hierdiff_core.models.loaded import Models
from hierdiff_core.prompt import Prompt, embedding_key, negative_key
from hierdiff_core.recipe import Recipe
from hierdiff_core.whole_file import write_whole

# Prompts per write to the cache: a crash repeats at most these.
_CHUNK = 64
_FOUND = 512  # embeddings that are read from a cache at once

Item = TypeVar("Item")


class EmbeddingCache(Protocol):
    """Packed embeddings by key, wherever they are kept."""

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

    def find(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """See EmbeddingCache."""
        files = {key: self.folder / f"{key}.safetensors" for key in keys}
        return {key: file.read_bytes() for key, file in files.items() if file.is_file()}

    def keep(self, rows: Mapping[str, bytes]) -> None:
        """See EmbeddingCache; an interruption loses no file that is already written."""
        for key, body in rows.items():
            write_whole(self.folder / f"{key}.safetensors", body)


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

    `report(done, total)` counts the missing ones. An embedding that cannot be used is not kept.
    Raises UnknownModel, WrongRevision.
    """
    missing = _missing(prompts, cache)
    _embed_negatives({prompt.recipe for prompt in prompts}, models, cache)
    done, faults = 0, dict[Prompt, InvalidEmbedding]()
    for alike in _by_encoder(missing):
        for chunk in _chunks(alike, _CHUNK):
            made = dict(zip(chunk, models.encoder(chunk[0].recipe).embed(chunk), strict=True))
            bad = {prompt: fault for prompt, row in made.items() if (fault := _fault(prompt, row))}
            good = {embedding_key(each): row for each, row in made.items() if each not in bad}
            cache.keep({key: pack(row) for key, row in good.items()})
            faults |= bad
            done += len(chunk)
            report(done, len(missing))
    return Embedded(len(missing), faults)


def find_embeddings(cache: EmbeddingCache, prompts: Iterable[Prompt]) -> dict[Prompt, Embedding]:
    """Return the embeddings that the cache holds."""
    keys = {prompt: embedding_key(prompt) for prompt in prompts}
    found = cache.find(set(keys.values()))
    return {prompt: unpack(found[key]) for prompt, key in keys.items() if key in found}


def find_vectors(
    cache: EmbeddingCache, prompts: Iterable[Prompt]
) -> dict[Prompt, npt.NDArray[np.float32]]:
    """Return the vectors (D,) that are known.

    What steers may be a thousand times as large, so no more than a chunk of it is held at once.
    """
    keys = {prompt: embedding_key(prompt) for prompt in prompts}
    vectors = find_vectors_of(cache, set(keys.values()))
    return {prompt: vectors[key] for prompt, key in keys.items() if key in vectors}


def find_vectors_of(
    cache: EmbeddingCache, keys: Collection[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the vectors (D,) of the keys that are known, by key."""
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    for chunk in _chunks(sorted(keys), _FOUND):
        # Copied, since a view would hold the whole embedding.
        vectors |= {key: unpack(row).vector.copy() for key, row in cache.find(chunk).items()}
    return vectors


def find_negative(cache: EmbeddingCache, recipe: Recipe) -> Conditioning | None:
    """Return the negative conditioning, or None where the cache does not hold it."""
    key = negative_key(recipe)
    found = cache.find([key])
    return unpack(found[key]).conditioning if key in found else None


def _missing(prompts: Sequence[Prompt], cache: EmbeddingCache) -> list[Prompt]:
    distinct = {embedding_key(prompt): prompt for prompt in prompts}
    known = {key for chunk in _chunks(list(distinct), _FOUND) for key in cache.find(chunk)}
    return [prompt for key, prompt in sorted(distinct.items()) if key not in known]


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _embed_negatives(recipes: set[Recipe], models: Models, cache: EmbeddingCache) -> None:
    keys = {negative_key(recipe): recipe for recipe in recipes}
    found = cache.find(keys.keys())
    for key, recipe in sorted(keys.items()):
        if key not in found:
            negative = models.encoder(recipe).embed_negative(recipe)
            stand_in = next(iter(negative.tensors.values())).flatten().float().numpy()
            cache.keep({key: pack(Embedding(stand_in, negative))})


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


def _fault(prompt: Prompt, embedding: Embedding) -> InvalidEmbedding | None:
    try:
        check_vectors(embedding.vector[None], [prompt.row])
    except InvalidEmbedding as fault:
        return fault
    return None
