"""Embeddings: a cache by content key that outlives nights.

A prior draws at random, so the first embedding stored under a key is the one that counts: read it
back before using it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping

from sqlalchemy import Text, any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from tasks.records import EmbeddingRow

log = logging.getLogger(__name__)


def find_embeddings(session: Session, keys: Iterable[str]) -> dict[str, bytes]:
    """Return the embeddings that are stored, by key.

    Content that does not match its sha256 counts as unknown, with a warning, and is replaced when
    it is stored again.
    """
    wanted = any_(literal(list(keys), ARRAY(Text)))
    columns = (EmbeddingRow.key, EmbeddingRow.content, EmbeddingRow.sha256)
    found: dict[str, bytes] = {}
    for key, content, sha256 in session.execute(select(*columns).where(EmbeddingRow.key == wanted)):
        if hashlib.sha256(content).hexdigest() == sha256:
            found[key] = content
        else:
            log.warning("Embedding %s does not match its checksum; making it again", key)
    return found


def lost_embeddings(session: Session, keys: Iterable[str]) -> set[str]:
    """Return those keys whose embedding is not stored or does not match its sha256."""
    wanted = set(keys)
    known = select(EmbeddingRow.key).where(
        EmbeddingRow.key == any_(literal(list(wanted), ARRAY(Text))),
        func.encode(func.sha256(EmbeddingRow.content), "hex") == EmbeddingRow.sha256,
    )
    return wanted - set(session.execute(known).scalars())


def store_embeddings(session: Session, contents: Mapping[str, bytes]) -> None:
    """Store embeddings under their keys; what is there already stays, unless it is corrupt."""
    # Two nights that store the same keys in another order would wait for each other for ever.
    rows = [
        {"key": key, "content": content, "sha256": hashlib.sha256(content).hexdigest()}
        for key, content in sorted(contents.items())
    ]
    if not rows:
        return
    new = insert(EmbeddingRow)
    checksum = func.encode(func.sha256(EmbeddingRow.content), "hex")
    session.execute(
        new.on_conflict_do_update(
            index_elements=[EmbeddingRow.key],
            set_={"content": new.excluded.content, "sha256": new.excluded.sha256},
            where=checksum != EmbeddingRow.sha256,
        ),
        rows,
    )
