"""Embedding: every prompt of a night is embedded once, and kept.

What is kept is never made again, so a night that is started twice, or repeats last night's prompts,
grows the same tree. The ledger keeps small embeddings, and the vectors of large ones, whose tensors
go to the object store.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from hierdiff_core.embedding import Conditioning, pack_vector, unpack
from hierdiff_core.embedding_cache import Embedded, embed_missing
from hierdiff_core.models.loaded import Models
from hierdiff_core.prompt import Prompt, negative_key
from tasks.errors import CorruptObject, LostEmbeddings, MissingObject
from tasks.ledger import (
    NightPlan,
    StoredEmbedding,
    find_embeddings,
    find_prompts,
    load_plan,
    load_run_prompts,
    lose_embeddings,
    lost_embeddings,
    store_embeddings,
)
from tasks.object_keys import embedding_object_key
from tasks.storage import Bucket
from tasks.stores import Stores

log = logging.getLogger(__name__)

Result = TypeVar("Result")

HELD = 2**16  # bytes of an embedding up to which the ledger holds all of it
_AT_ONCE = 4096  # embeddings whose vectors are read by one statement
_HANDS = 8  # objects that are written or read at once


@dataclass(frozen=True)
class LedgerCache:
    """Embeddings in the ledger and the object store; an EmbeddingCache.

    An object that is damaged or gone counts as unknown from where it is found; then the embedding
    is made anew.
    """

    stores: Stores

    def known(self, keys: Collection[str]) -> Collection[str]:
        """See EmbeddingCache; objects are not looked at."""
        with self.stores.session() as session:
            return set(keys) - lost_embeddings(session, keys)

    def vectors(self, keys: Collection[str]) -> Mapping[str, npt.NDArray[np.float32]]:
        """See EmbeddingCache."""
        wanted, found = list(keys), dict[str, npt.NDArray[np.float32]]()
        with self.stores.session() as session:
            for first in range(0, len(wanted), _AT_ONCE):
                rows = find_embeddings(session, wanted[first : first + _AT_ONCE])
                # Copied, since a view would hold the whole embedding.
                found |= {key: unpack(row.content).vector.copy() for key, row in rows.items()}
        return found

    def find(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """See EmbeddingCache."""
        with self.stores.session() as session:
            rows = find_embeddings(session, keys)
        objects = {key: row.object for key, row in rows.items() if row.object is not None}
        fetched = _each(partial(_fetch, self.stores.bucket), objects.values())
        bodies = dict(zip(objects, fetched, strict=True))
        lost = {key: objects[key] for key, body in bodies.items() if body is None}
        if lost:
            with self.stores.session() as session:
                lose_embeddings(session, lost)
        held = {key: row.content for key, row in rows.items() if key not in objects}
        return held | {key: body for key, body in bodies.items() if body is not None}

    def keep(self, rows: Mapping[str, bytes]) -> None:
        """See EmbeddingCache; an object is written before the row that names it."""
        stored = _each(partial(_store, self.stores.bucket), rows.values())
        with self.stores.session() as session:
            store_embeddings(session, dict(zip(rows, stored, strict=True)))


def _each(work: Callable[[Any], Result], items: Collection[Any]) -> list[Result]:
    """Return what the work makes of each item, several at once."""
    with ThreadPoolExecutor(_HANDS, thread_name_prefix="embeddings") as hands:
        return list(hands.map(work, items))


def _store(bucket: Bucket, packed: bytes) -> StoredEmbedding:
    """Return what the ledger holds of an embedding, once the object store holds the rest."""
    if len(packed) <= HELD:
        return StoredEmbedding(packed)
    sha256 = hashlib.sha256(packed).hexdigest()
    bucket.put(embedding_object_key(sha256), packed)
    return StoredEmbedding(pack_vector(unpack(packed).vector), sha256, len(packed))


def _fetch(bucket: Bucket, sha256: str) -> bytes | None:
    """Return an embedding's object, or None where it is damaged or gone."""
    try:
        return bucket.get(embedding_object_key(sha256), sha256)
    except (MissingObject, CorruptObject) as damage:
        log.warning("%s", damage)
        return None


def embed_prompts(
    stores: Stores,
    prompts: Sequence[Prompt],
    models: Models,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Embedded:
    """Put the embeddings of prompts into the ledger; see `embed_missing`."""
    return embed_missing(prompts, models, LedgerCache(stores), report)


def read_conditionings(stores: Stores, keys: Collection[str]) -> dict[str, Conditioning]:
    """Return what steers, by key; raises LostEmbeddings where any of it is lost or damaged."""
    wanted = set(keys)
    found = LedgerCache(stores).find(wanted)
    if lost := wanted - found.keys():
        raise LostEmbeddings(count=len(lost), keys=frozenset(lost))
    return {key: unpack(packed).conditioning for key, packed in found.items()}


def remake_embeddings(stores: Stores, keys: Collection[str], models: Models) -> None:
    """Make those of prompts' embeddings anew that are lost or damaged and whose prompt a night has.

    That of a row that is gone, forgotten or collected, stays lost, and what stands does without.
    """
    with stores.session() as session:
        prompts = find_prompts(session, lost_embeddings(session, keys))
    _remake(stores, prompts.values(), models)


def remake_run_embeddings(stores: Stores, run: uuid.UUID, models: Models) -> bool:
    """Make anew what is lost of a run's embeddings, negative ones too; return whether any was.

    See `remake_embeddings`.
    """
    with stores.session() as session:
        lost, negatives = find_lost(session, run)
        prompts = load_run_prompts(session, run) if negatives else ()
    # One prompt of each recipe, whose own embedding is there, has the negative one made.
    wanted = [*lost.values(), *{each.recipe: each for each in prompts}.values()]
    _remake(stores, wanted, models)
    return bool(wanted)


def find_lost(session: Session, run: uuid.UUID) -> tuple[dict[str, Prompt], set[str]]:
    """Return what can be made anew of a run's embeddings: prompts by key, and negative keys."""
    night = load_plan(session, run)
    lost = lost_embeddings(session, embeddings_of(night))
    negatives = lost & {negative_key(tree.recipe) for tree in night.trees}
    return find_prompts(session, lost - negatives), negatives


def _remake(stores: Stores, prompts: Collection[Prompt], models: Models) -> None:
    if prompts:
        log.warning("%d embeddings were lost or damaged; making them again", len(prompts))
        embed_prompts(stores, list(prompts), models)
        models.forget_encoders()


def embeddings_of(night: NightPlan) -> set[str]:
    """Return the keys of a plan's embeddings, negative ones too."""
    negatives = {negative_key(tree.recipe) for tree in night.trees}
    return negatives | {leaf.embedding_key for leaf in (*night.leaves, *night.guests)}
