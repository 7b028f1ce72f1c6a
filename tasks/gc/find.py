"""Finding: what would go now; nothing is removed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy.orm import Session

from hierdiff_core.prompt import negative_key
from hierdiff_core.recipe import Recipe
from tasks.errors import ForeignNights
from tasks.gc.lot import Lot, add_up
from tasks.gc.retention import Retention
from tasks.gc.sweep import find_strangers, sweep
from tasks.ledger.removal import count_idle_embeddings, count_rows, used_recipes
from tasks.ledger.retention import OldNight, idle_splits, old_nights
from tasks.ledger.sums import count_idle_sums
from tasks.object_keys import CHECKPOINTS, KINDS
from tasks.stores import Stores

Report = Callable[[str, int], None]  # what is being done, and how many things it has come to


def find_garbage(
    stores: Stores, retention: Retention, report: Report = lambda step, done: None
) -> tuple[Lot, ...]:
    """Return what `collect_garbage` would remove, by kind; raises ForeignNights."""
    check_strangers(stores, retention)
    return add_up(_find(stores, retention, report))


def check_strangers(stores: Stores, retention: Retention) -> None:
    """Raise ForeignNights where the bucket has nights that the ledger does not know."""
    strangers = [] if retention.strangers else find_strangers(stores)
    if strangers:
        raise ForeignNights(bucket=stores.bucket.name, count=len(strangers), run=strangers[0])


def kept_negatives(session: Session, going: Sequence[uuid.UUID] = ()) -> set[str]:
    """Return the keys of the negative prompts' embeddings, which no plan names."""
    return {negative_key(Recipe.from_json(each)) for each in used_recipes(session, going)}


def lots_of_rows(counts: dict[str, int], nights: Sequence[OldNight]) -> Iterator[Lot]:
    """Yield nights' rows as lots, one a table, as old as the nights."""
    times = [night.made for night in nights]
    for table, count in counts.items():
        yield Lot(table, count, None, min(times, default=None), max(times, default=None))


def counted(report: Report, step: str, lots: Iterator[Lot]) -> Iterator[Lot]:
    """Yield lots, each reported with what came before."""
    done = 0
    report(step, done)
    for lot in lots:
        done += lot.count
        report(step, done)
        yield lot


def _find(stores: Stores, retention: Retention, report: Report) -> Iterator[Lot]:
    report("reading the ledger", 0)
    with stores.snapshot() as session:
        nights = old_nights(session, retention.nights, retention.settled)
        going = [night.run for night in nights if night.run is not None]
        yield from lots_of_rows(count_rows(session, nights), nights)
        forgotten = _forgotten(session, retention, going)
        kept = kept_negatives(session, going)
        idle = count_idle_embeddings(session, kept, retention.idle, going)
        yield Lot("embeddings", *idle)
        yield Lot("founder_sums", *count_idle_sums(session, going))
    for kind in KINDS:
        lots = sweep(
            stores,
            kind,
            retention.before,
            going=going,
            forgotten=forgotten if kind is CHECKPOINTS else (),
            remove=False,
        )
        yield from counted(report, f"reading {kind.folder}/", lots)


def _forgotten(session: Session, retention: Retention, going: Sequence[uuid.UUID]) -> set[str]:
    if retention.bytes is None:
        return set()
    return {each.sha256 for each in idle_splits(session, retention.bytes, going)}
