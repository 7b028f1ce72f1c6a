"""Embeddings: a cache by content key that outlives nights.

A prior draws at random, so the first embedding stored under a key is the one that counts: read it
back before using it. Of a large embedding the ledger holds the vector and names the object that
holds all of it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Text, and_, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from tasks.records import EmbeddingRow

log = logging.getLogger(__name__)

_CHECKSUM = func.encode(func.sha256(EmbeddingRow.content), "hex")


@dataclass(frozen=True, slots=True)
class StoredEmbedding:
    """What the ledger holds of an embedding."""

    content: bytes  # all of it, or its vector where an object holds all
    object: str | None = None  # sha256 of the object, which names it
    object_bytes: int | None = None


def find_embeddings(session: Session, keys: Iterable[str]) -> dict[str, StoredEmbedding]:
    """Return what is held of the embeddings that are stored, by key.

    Content that does not match its sha256 counts as unknown, with a warning, and is replaced when
    it is stored again.
    """
    wanted = any_(literal(list(keys), ARRAY(Text)))
    table = EmbeddingRow
    columns = (table.key, table.sha256, table.content, table.object, table.object_bytes)
    found: dict[str, StoredEmbedding] = {}
    for key, sha256, *held in session.execute(select(*columns).where(table.key == wanted)):
        if hashlib.sha256(held[0]).hexdigest() == sha256:
            found[key] = StoredEmbedding(*held)
        else:
            log.warning("Embedding %s does not match its checksum; making it again", key)
    return found


def lost_embeddings(session: Session, keys: Iterable[str]) -> set[str]:
    """Return those keys whose embedding is not stored or does not match its sha256."""
    wanted = set(keys)
    known = select(EmbeddingRow.key).where(
        EmbeddingRow.key == any_(literal(list(wanted), ARRAY(Text))),
        EmbeddingRow.sha256 == _CHECKSUM,
    )
    return wanted - set(session.execute(known).scalars())


def erased_embeddings(session: Session, keys: Iterable[str]) -> set[str]:
    """Return those keys whose embedding was erased with its row (`hierdiff forget`)."""
    wanted = EmbeddingRow.key == any_(literal(list(keys), ARRAY(Text)))
    empty = func.octet_length(EmbeddingRow.content) == 0
    return set(session.execute(select(EmbeddingRow.key).where(wanted, empty)).scalars())


def lose_embeddings(session: Session, objects: Mapping[str, str]) -> None:
    """Count embeddings as lost, by key, whose object is damaged or gone and is still named."""
    for key, sha256 in sorted(objects.items()):
        here = and_(EmbeddingRow.key == key, EmbeddingRow.object == sha256)
        session.execute(update(EmbeddingRow).where(here).values(sha256=""))


def store_embeddings(session: Session, rows: Mapping[str, StoredEmbedding]) -> None:
    """Store embeddings under their keys; what is there already stays, unless it is lost."""
    # Two nights that store the same keys in another order would wait for each other for ever.
    values = [
        {
            "key": key,
            "content": row.content,
            "sha256": hashlib.sha256(row.content).hexdigest(),
            "object": row.object,
            "object_bytes": row.object_bytes,
        }
        for key, row in sorted(rows.items())
    ]
    if not values:
        return
    new = insert(EmbeddingRow)
    columns = ("content", "sha256", "object", "object_bytes")
    session.execute(
        new.on_conflict_do_update(
            index_elements=[EmbeddingRow.key],
            set_={name: new.excluded[name] for name in columns},
            where=EmbeddingRow.sha256 != _CHECKSUM,
        ),
        values,
    )
