"""The night that a command asks for: its settings, its rows, and whether it is another one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import click

from tasks import stages
from tasks.catalogue_settings import CatalogueSettings, settings_for
from tasks.errors import NoSource, UnknownCatalogue
from tasks.ingest import Ingested
from tasks.ledger import (
    Night,
    RunSummary,
    claim_night,
    find_night,
    find_run,
    has_nights,
    replace_night,
    summarise,
)
from tasks.remake import NO_REMAKE, Remake
from tasks.requests import check_rows, check_settings
from tasks.settings import Settings
from tasks.states import BatchState
from tasks.stores import Stores


@dataclass(frozen=True)
class StoredNight:
    """A night with the rows that were read for it."""

    night: Night
    rows: Ingested
    fresh: bool  # whether they were stored now


def store_night(
    stores: Stores,
    settings: Settings,
    catalogue: str,
    day: date,
    source: stages.Source,
    replace: bool,
    remake: Remake = NO_REMAKE,
) -> StoredNight:
    """Return the night with the rows of a source; raises NightDiffers where it has others.

    To remake pictures is to replace a night; without a source its rows are taken again.
    """
    # Read before a night is claimed: a bad source claims none.
    rows = _rows(stores, settings, catalogue, day, source)
    with stores.session() as session:
        if replace or remake.names:
            replace_night(session, catalogue, day)
        night = claim_night(session, catalogue, day)
        fresh = stages.store_rows(session, night.batch, rows, settings.night, remake)
    if not fresh:
        check_settings(stores, night, settings.night)
        check_rows(stores, night, rows)
    return StoredNight(night, rows, fresh)


def _rows(
    stores: Stores, settings: Settings, catalogue: str, day: date, source: stages.Source
) -> Ingested:
    if not source.is_named and not stages.has_source(settings):
        night = find_asked(stores, settings, catalogue, day, replace=False)
        if night is not None:
            return stages.rows_of(stores, night.batch)
    tonight = settings_tonight(stores, settings, catalogue)
    return read_source(tonight.settings, source)


def read_source(settings: Settings, source: stages.Source) -> Ingested:
    """Return the rows of a source; print a line for each thing that is no fault and yet odd."""
    rows = stages.read_rows(settings, source)
    for note in rows.notes:
        click.echo(f"hierdiff: {note}", err=True)
    return rows


def find_asked(
    stores: Stores, settings: Settings, catalogue: str, day: date, replace: bool
) -> Night | None:
    """Return the night, if there is one; raises NightDiffers where it was asked for otherwise.

    Raises UnknownCatalogue or NoSource where no rows would be found.
    """
    with stores.session() as session:
        night = find_night(session, catalogue, day)
        known = has_nights(session, catalogue)
    has_rows = night is not None and night.state is BatchState.INGESTED and not replace
    if not has_rows and not stages.has_source(settings):
        raise NoSource() if known else UnknownCatalogue(catalogue=catalogue)
    if night is not None and has_rows:
        check_settings(stores, night, settings.night)
    return night


def summary_of(stores: Stores, night: Night) -> RunSummary:
    with stores.session() as session:
        return summarise(session, find_run(session, str(night.run)))


def settings_tonight(
    stores: Stores, settings: Settings, catalogue: str, batch: int | None = None
) -> CatalogueSettings:
    """Return the settings of a night; print a line where a tuned setting does not apply."""
    tonight = settings_for(stores, settings, catalogue, batch)
    if tonight.warning:
        click.echo(f"hierdiff: {tonight.warning}", err=True)
    return tonight


def ingested_batch(stores: Stores, settings: Settings, catalogue: str, day: date) -> int | None:
    """Return the batch of a night that has its rows; None where it has none yet.

    Raises what `find_asked` raises: a night that is asked for in these words would not be run.
    """
    night = find_asked(stores, settings, catalogue, day, replace=False)
    return night.batch if night is not None and night.state is BatchState.INGESTED else None
