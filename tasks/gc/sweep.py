"""Sweeping the bucket: objects of our forms that no row names.

An object is stored before its row is written, so a young one is left alone: its row may come.
Anything else in the bucket is not ours, whatever its key begins with.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from tasks.gc.lot import Lot
from tasks.ledger.object_names import find_named
from tasks.object_keys import CSV_TABLES, JSONL_TABLES, MANIFESTS, REPORTS, ObjectKind
from tasks.storage import StoredObject
from tasks.stores import Stores

OF_NIGHTS = (MANIFESTS, CSV_TABLES, JSONL_TABLES, REPORTS)  # kinds whose objects are named by a run


def sweep(
    stores: Stores,
    kind: ObjectKind,
    before: datetime,
    *,
    going: Sequence[uuid.UUID] = (),
    forgotten: Collection[str] = (),
    remove: bool,
) -> Iterator[Lot]:
    """Yield what goes of a kind, removed where that is asked for; one lot a page.

    Names that are given only by runs that are `going`, or are `forgotten`, count as not given.
    """
    for page in stores.bucket.pages(f"{kind.folder}/"):
        old = {name: each for name, each in _named(kind, page) if each.modified < before}
        with stores.session() as session:
            named = find_named(session, kind, old, going) - set(forgotten)
        gone = [each for name, each in old.items() if name not in named]
        if remove:
            stores.bucket.delete_all([each.key for each in gone])
        yield sum((lot_of(kind, each) for each in gone), Lot(f"{kind.folder}/"))


def find_strangers(stores: Stores) -> list[str]:
    """Return the runs of which the bucket has results and the ledger knows nothing.

    A night's results go before its rows, so that `hierdiff gc` itself leaves none.
    """
    strangers: set[str] = set()
    for kind in OF_NIGHTS:
        for page in stores.bucket.pages(f"{kind.folder}/"):
            entries = dict(_named(kind, page))
            with stores.session() as session:
                unknown = set(entries) - find_named(session, kind, entries)
            # Another one may have removed a night between the two looks.
            strangers |= {name for name in unknown if stores.bucket.exists(entries[name].key)}
    return sorted(strangers)


def remove_results(stores: Stores, run: uuid.UUID) -> Iterator[Lot]:
    """Remove what is published of a run and yield it."""
    for kind in OF_NIGHTS:
        key = kind.key(str(run))
        for page in stores.bucket.pages(key):
            stores.bucket.delete_all([each.key for each in page if each.key == key])
            yield from (lot_of(kind, each) for each in page if each.key == key)


def lot_of(kind: ObjectKind, entry: StoredObject) -> Lot:
    """Return one object as a lot."""
    return Lot(f"{kind.folder}/", 1, entry.bytes, entry.modified, entry.modified)


def _named(kind: ObjectKind, page: Sequence[StoredObject]) -> Iterator[tuple[str, StoredObject]]:
    for entry in page:
        if name := kind.name_of(entry.key):
            yield name, entry
