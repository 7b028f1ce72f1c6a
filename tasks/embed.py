"""Embedding: every prompt of a night is embedded once, and kept in the ledger.

What is kept is never made again, so a night that is started twice, or repeats last night's prompts,
grows the same tree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hierdiff_core.embedding_cache import Embedded, embed_missing
from hierdiff_core.models.loaded import Models
from hierdiff_core.prompt import Prompt
from tasks.errors import MissingEmbedding
from tasks.ledger import find_embeddings, find_prompts, lost_embeddings, store_embeddings
from tasks.stores import Stores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LedgerCache:
    """Embeddings in the ledger; an EmbeddingCache."""

    stores: Stores

    def find(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """See EmbeddingCache."""
        with self.stores.session() as session:
            return find_embeddings(session, keys)

    def keep(self, rows: Mapping[str, bytes]) -> None:
        """See EmbeddingCache."""
        with self.stores.session() as session:
            store_embeddings(session, dict(rows))


def embed_prompts(
    stores: Stores,
    prompts: Sequence[Prompt],
    models: Models,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Embedded:
    """Put the embeddings of prompts into the ledger; see `embed_missing`."""
    return embed_missing(prompts, models, LedgerCache(stores), report)


def remake_embeddings(stores: Stores, keys: Collection[str], models: Models) -> None:
    """Make those of planned prompts' embeddings anew that are lost or damaged.

    Raises MissingEmbedding for one whose prompt no night has.
    """
    with stores.session() as session:
        lost = lost_embeddings(session, keys)
        prompts = find_prompts(session, lost)
    for key in sorted(lost - prompts.keys()):
        raise MissingEmbedding(key=key)
    log.warning("%d embeddings were lost or damaged; making them again", len(lost))
    embed_prompts(stores, list(prompts.values()), models)
    models.forget_encoders()
