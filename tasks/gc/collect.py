"""Collecting: garbage is removed, and in which order.

Rows go before the objects that they name, each night in one transaction, so no row ever names an
object that this has removed. Whatever moment it ends at, the next start does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tasks.gc.find import Report, check_strangers, counted, kept_negatives, lots_of_rows
from tasks.gc.lot import Lot, add_up
from tasks.gc.retention import Retention
from tasks.gc.sweep import remove_results, sweep
from tasks.ledger.removal import (
    forget_splits,
    lock_night,
    remove_idle_embeddings,
    remove_night,
)
from tasks.ledger.retention import OldNight, idle_splits, old_nights
from tasks.ledger.sums import remove_idle_sums
from tasks.object_keys import KINDS
from tasks.stores import Stores

_AT_ONCE = 1000  # splits or embeddings of a transaction


def collect_garbage(
    stores: Stores, retention: Retention, report: Report = lambda step, done: None
) -> tuple[Lot, ...]:
    """Remove what retention does not keep, and return it by kind.

    Safe to end at any moment, and beside nights and others of its kind. Raises ForeignNights, with
    nothing removed.
    """
    check_strangers(stores, retention)
    return add_up(_collect(stores, retention, report))


def _collect(stores: Stores, retention: Retention, report: Report) -> Iterator[Lot]:
    with stores.session() as session:
        nights = old_nights(session, retention.nights, retention.settled)
    for done, night in enumerate(nights):
        report("removing nights", done)
        yield from _remove(stores, night)
    if retention.bytes is not None:
        _forget_idle_splits(stores, retention.bytes, report)
    embeddings = _remove_idle_embeddings(stores, retention)
    yield from counted(report, "removing embeddings", embeddings)
    with stores.session() as session:
        yield Lot("founder_sums", *remove_idle_sums(session))
    for kind in KINDS:
        swept = sweep(stores, kind, retention.before, remove=True)
        yield from counted(report, f"removing {kind.folder}/", swept)


def _remove(stores: Stores, night: OldNight) -> Iterator[Lot]:
    with stores.session() as session:
        if not lock_night(session, night):
            return
        # Before the rows: results of a night without any are taken for those of another ledger.
        if night.run is not None:
            yield from remove_results(stores, night.run)
        yield from lots_of_rows(remove_night(session, night), [night])


def _forget_idle_splits(stores: Stores, limit: int, report: Report) -> None:
    done = 0
    with stores.snapshot() as session:
        idle = idle_splits(session, limit)
        while some := {each.sha256 for each in islice(idle, _AT_ONCE)}:
            with stores.session() as writing:
                forget_splits(writing, some)
            done += len(some)
            report("forgetting splits", done)


def _remove_idle_embeddings(stores: Stores, retention: Retention) -> Iterator[Lot]:
    with stores.session() as session:
        kept = kept_negatives(session)
    while True:
        with stores.session() as session:
            lot = Lot(
                "embeddings", *remove_idle_embeddings(session, kept, retention.idle, _AT_ONCE)
            )
        yield lot
        if not lot.count:
            return
