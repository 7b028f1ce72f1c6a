"""Embedding: every prompt of a night gets the conditioning that the prior predicts, once.

Knows the prior and the cache of embeddings. Knows nothing of trees. What is cached is never made
again, so a night that is started twice, or repeats last night's prompts, grows the same tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from hierdiff_core.embedding import Conditioning, flatten, pack, unpack
from hierdiff_core.errors import InvalidEmbedding
from hierdiff_core.forest import Group, group_prompts
from hierdiff_core.models.kandinsky22 import Prior, load_prior
from hierdiff_core.prompt import Prompt, Recipe, content_key, embedding_key, negative_key
from tasks.ingest import Rejected
from tasks.ledger import find_embeddings, store_embeddings
from tasks.stores import Stores

# Embeddings are stored after so many prompts, so that a crash repeats no more than these.
_CHUNK = 64


@dataclass(frozen=True)
class Embedded:
    """What became of the prompts."""

    made: int  # embeddings that were not in the cache
    rejected: tuple[Rejected, ...]  # prompts whose embedding is of no use


def embed_prompts(
    stores: Stores,
    prompts: Sequence[Prompt],
    device: str,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Embedded:
    """Put the embedding of every prompt, and of every negative prompt, into the cache.

    `report` hears how many of the missing ones are done. Prompts with a useless embedding come
    back as rejected, and nothing is stored for them. Raises UnknownModel.
    """
    groups = group_prompts(prompts)
    missing = [(group, _missing(stores, group)) for group in groups]
    total = sum(len(prompts) for _, prompts in missing)
    done, rejected = 0, list[Rejected]()
    for group, absent in missing:
        if not absent and not _negative_is_missing(stores, group.recipe):
            continue
        prior = load_prior(group.recipe, device)
        _store(stores, {negative_key(group.recipe): prior.embed_negative(group.recipe)})
        for chunk in _chunks(absent):
            rejected += _embed_chunk(stores, prior, chunk)
            done += len(chunk)
            report(done, total)
    return Embedded(total, tuple(rejected))


def load_embeddings(session: Session, prompts: Iterable[Prompt]) -> dict[str, Conditioning]:
    """Return cached embeddings by content key; prompts without one are left out."""
    keys = {content_key(prompt): embedding_key(prompt) for prompt in prompts}
    found = find_embeddings(session, set(keys.values()))
    return {mine: unpack(found[theirs]) for mine, theirs in keys.items() if theirs in found}


def load_negative(session: Session, recipe: Recipe) -> Conditioning | None:
    """Return what guidance steers away from, or None where it is not cached."""
    key = negative_key(recipe)
    found = find_embeddings(session, [key])
    return unpack(found[key]) if key in found else None


def _missing(stores: Stores, group: Group) -> list[Prompt]:
    with stores.session() as session:
        found = find_embeddings(session, {embedding_key(prompt) for prompt in group.prompts})
    distinct = {embedding_key(prompt): prompt for prompt in group.prompts}
    return [prompt for key, prompt in sorted(distinct.items()) if key not in found]


def _negative_is_missing(stores: Stores, recipe: Recipe) -> bool:
    with stores.session() as session:
        return not find_embeddings(session, [negative_key(recipe)])


def _embed_chunk(stores: Stores, prior: Prior, prompts: Sequence[Prompt]) -> list[Rejected]:
    made = dict(zip(prompts, prior.embed(prompts), strict=True))
    faults = {prompt: fault for prompt, row in made.items() if (fault := _fault(prompt, row))}
    _store(
        stores,
        {embedding_key(each): row for each, row in made.items() if each not in faults},
    )
    return [Rejected(prompt.row, str(fault)) for prompt, fault in faults.items()]


def _fault(prompt: Prompt, embedding: Conditioning) -> InvalidEmbedding | None:
    vector = flatten(embedding)
    if not np.isfinite(vector).all():
        return InvalidEmbedding(row=prompt.row, reason="is not finite")
    return None if vector.any() else InvalidEmbedding(row=prompt.row, reason="is zero")


def _store(stores: Stores, rows: dict[str, Conditioning]) -> None:
    with stores.session() as session:
        store_embeddings(session, {key: pack(row) for key, row in rows.items()})


def _chunks(prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    for first in range(0, len(prompts), _CHUNK):
        yield prompts[first : first + _CHUNK]
