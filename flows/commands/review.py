"""The command with which people look through a night: accept pictures, and reject others."""

from __future__ import annotations

import getpass
import sys
import uuid
from datetime import datetime
from pathlib import Path

import click
from sqlalchemy.orm import Session

from flows.commands.client import ledger
from hierdiff_core.printable import printable, printable_line
from tasks.errors import UnknownRun
from tasks.ledger import find_night, find_run, latest_run
from tasks.review.table import export_verdicts, import_verdicts
from tasks.settings import Settings
from tasks.source.file import read_file
from tasks.source.reading import read_limits
from tasks.stores import Stores

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("night", metavar="[RUN|CATALOGUE]", default="latest")
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="that night of the catalogue"
)
@click.option("--as", "reviewer", help="who gives the verdicts; your account's name unless given")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="port; a free one unless given"
)
@click.option(
    "--import",
    "given",
    type=_FILE,
    help="take verdicts from a CSV with columns reference, verdict, reason; open no page",
)
@click.option(
    "--export",
    "out",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    help="write all pictures and their verdicts as CSV; open no page",
)
def review(
    night: str,
    day: datetime | None,
    reviewer: str | None,
    port: int,
    given: Path | None,
    out: Path | None,
) -> int:
    """Look through a night's pictures in the browser; accept and reject them by one key each."""
    who = printable_line(reviewer or getpass.getuser(), 80)
    with ledger() as (stores, settings):
        with stores.session() as session:
            run = _find(session, night, day)
        if given is not None:
            return _import(stores, settings, run, given, who)
        if out is not None:
            return _export(stores, run, out)
        return _serve(stores, run, who, port)


def _find(session: Session, night: str, day: datetime | None) -> uuid.UUID:
    """Return the run that is meant: of a catalogue the latest, or that of a date."""
    if day is None:
        return latest_run(session, night) or find_run(session, night)
    found = find_night(session, night, day.date())
    if found is None or found.run is None:
        raise UnknownRun(run=f"{night} {day.date()}")
    return found.run


def _import(stores: Stores, settings: Settings, run: uuid.UUID, file: Path, who: str) -> int:
    rows = read_file(file, limits=read_limits(settings))
    found = import_verdicts(stores, run, rows, who)
    for each in found.bad:
        click.echo(f"hierdiff: {each.reason}", err=True)
    click.echo(f"{found.given:,} verdicts kept, {found.same:,} said nothing new")
    return 1 if found.bad else 0


def _export(stores: Stores, run: uuid.UUID, out: Path) -> int:
    if str(out) == "-":
        export_verdicts(stores, run, sys.stdout)
        return 0
    with out.open("w", encoding="utf-8", newline="") as file:
        count = export_verdicts(stores, run, file)
    click.echo(f"{count:,} pictures in {out}")
    return 0


def _serve(stores: Stores, run: uuid.UUID, who: str, port: int) -> int:
    from tasks.review.app import Review  # loads a web server
    from tasks.review.night import read_night
    from tasks.review.serve import serve

    night = read_night(stores, run)
    facts = night.facts
    click.echo(
        printable(f"{facts.catalogue} {facts.business_date}: {len(night.pictures):,} pictures, ")
        + f"verdicts are given by {who}; stop with Ctrl-C"
    )
    serve(Review(stores, night, who), port, click.echo)
    return 0
