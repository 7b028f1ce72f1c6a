"""What `python -m benchmarks.removal` writes by SQL is a ledger as today's tables have it."""

from __future__ import annotations

from benchmarks.removal import fill
from tasks.gc.find import find_garbage
from tasks.gc.retention import Retention
from tasks.settings import Settings
from tasks.stores import open_stores


def test_of_two_nights_the_earlier_one_would_go(settings: Settings) -> None:
    with open_stores(settings) as stores:
        fill(stores, 0, 1, 100, 1)
        fill(stores, 1, 2, 101, 1)
        gone = {lot.kind: lot.count for lot in find_garbage(stores, Retention(1))}
    assert (gone["batches"], gone["prompts"], gone["embeddings"]) == (1, 100, 1)
