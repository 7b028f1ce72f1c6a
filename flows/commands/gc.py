"""The command that removes what later nights no longer need."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table

from flows.commands.client import ledger
from flows.commands.options import json_option
from tasks.gc.collect import collect_garbage
from tasks.gc.find import find_garbage
from tasks.gc.lot import Lot
from tasks.gc.retention import Retention, read_retention


@click.command()
@click.option("--keep-nights", type=int, help="HIERDIFF_KEEP_NIGHTS unless given")
@click.option("--keep-gigabytes", type=float, help="HIERDIFF_KEEP_GIGABYTES unless given")
@click.option(
    "--unknown-nights",
    is_flag=True,
    help="also remove results of nights that the ledger does not know",
)
@click.option("--yes", is_flag=True, help="remove it; without, it is only shown")
@json_option
def gc(
    keep_nights: int | None,
    keep_gigabytes: float | None,
    unknown_nights: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what retention no longer keeps: old nights, idle splits, objects without a row."""
    given = {"keep_nights": keep_nights, "keep_gigabytes": keep_gigabytes}
    with ledger(**{name: each for name, each in given.items() if each is not None}) as opened:
        stores, settings = opened
        retention = read_retention(settings, strangers=unknown_nights)
        work = collect_garbage if yes else find_garbage
        with _progress(as_json) as report:
            lots = work(stores, retention, report)
    if as_json:
        found = {"removed": yes, "lots": [asdict(lot) for lot in lots]}
        click.echo(json.dumps(found, default=str))
        return
    click.echo(_kept(retention))
    if lots:
        Console().print(_table(lots), markup=False)
    click.echo(_outcome(lots, removed=yes))


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """Yield a callback `report(step, done)`, shown where somebody looks."""
    console = Console(stderr=True, quiet=quiet)
    with Status("connecting", console=console) as shown:
        yield lambda step, done: shown.update(f"{step}: {done:,}" if done else step)


def _kept(retention: Retention) -> str:
    size = "" if retention.bytes is None else f", and of splits {size_text(retention.bytes)}"
    return f"kept: the last {retention.nights} completed nights of each catalogue{size}"


def _table(lots: tuple[Lot, ...]) -> Table:
    table = Table("what", "number", "size", "age in days", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for lot in lots:
        size = "" if lot.bytes is None else size_text(lot.bytes)
        table.add_row(lot.kind, f"{lot.count:,}", size, _age(lot))
    return table


def _outcome(lots: tuple[Lot, ...], *, removed: bool) -> str:
    if not lots:
        return "there is nothing to remove"
    size = size_text(sum(lot.bytes or 0 for lot in lots))
    return f"removed: {size}" if removed else f"{size} would go; say --yes to remove it"


def _age(lot: Lot) -> str:
    if lot.oldest is None or lot.newest is None:
        return ""
    now = datetime.now(UTC)
    youngest, eldest = (max(0, (now - each).days) for each in (lot.newest, lot.oldest))
    return f"{youngest}" if youngest == eldest else f"{youngest} to {eldest}"


def size_text(size: int) -> str:
    """Return bytes in words."""
    amount, unit = float(size), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
