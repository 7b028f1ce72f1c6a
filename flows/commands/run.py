"""Commands that make a night: ingest, plan, run, retry."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import click

from flows.commands.client import ledger, prefect
from flows.commands.options import reading_options
from flows.commands.quote import price, price_text
from flows.commands.watch import watch
from flows.quiet import quiet_libraries
from flows.starts import start_night, start_retry
from tasks import stages
from tasks.catalogue_settings import CatalogueSettings, plan_catalogue, settings_for
from tasks.embed import embed_prompts
from tasks.ledger import claim_night, find_night, find_run, load_prompts, summarise
from tasks.models import open_models
from tasks.settings import Settings
from tasks.states import BatchState
from tasks.stores import Stores

_DATE = click.DateTime(["%Y-%m-%d"])
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)

_catalogue = click.argument("catalogue")
_day = click.option("--date", "day", type=_DATE, help="business date; today unless given")
_file = click.option(
    "--file", type=_FILE, help="CSV, TSV, JSON, JSONL or TXT; - for standard input"
)
_query = click.option("--query", help="SQL for HIERDIFF_SOURCE_URL that returns a column `prompt`")
_json = click.option("--json", "as_json", is_flag=True, help="machine-readable output")


@click.command()
@_catalogue
@_day
@_file
@_query
@reading_options
@_json
def ingest(
    catalogue: str,
    day: datetime | None,
    file: Path | None,
    query: str | None,
    reading: dict[str, object],
    as_json: bool,
) -> None:
    """Store the rows of a night, without planning or running it."""
    with ledger(**reading) as (stores, settings):
        tonight = _tonight(stores, settings, catalogue)
        # Read before a night is claimed: a bad source claims none.
        rows = stages.read_rows(tonight.settings, stages.Source(query, file))
        with stores.session() as session:
            claimed = claim_night(session, catalogue, _date(day))
            fresh = stages.store_rows(session, claimed.batch, rows)
    found = {
        "catalogue": catalogue,
        "business_date": _date(day).isoformat(),
        "stored": fresh,
        "prompts": len(rows.prompts),
        "rejected": [{"row": each.row, "reason": each.reason} for each in rows.rejected],
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    outcome = "stored" if fresh else "read; this night already has its rows, nothing was changed"
    click.echo(f"{len(rows.prompts)} prompts {outcome}")
    for row in rows.rejected:
        click.echo(f"  rejected: {row.reason}")


@click.command()
@_catalogue
@_day
@_file
@_query
@reading_options
@_json
def plan(
    catalogue: str,
    day: datetime | None,
    file: Path | None,
    query: str | None,
    reading: dict[str, object],
    as_json: bool,
) -> None:
    """Show what a night would cost. Stores the embeddings, which the night reuses, and no more."""
    quiet_libraries()
    with ledger(**reading) as (stores, settings):
        night = None
        if file is None and query is None and not reading:
            night = _ingested(stores, catalogue, _date(day))
        tonight = _tonight(stores, settings, catalogue, night)
        if night is None:
            prompts = stages.read_rows(tonight.settings, stages.Source(query, file)).prompts
        else:
            with stores.session() as session:
                prompts = load_prompts(session, night)
        with click.progressbar(length=len(prompts), label="embedding", hidden=as_json) as bar:
            models = open_models(tonight.settings)
            embed_prompts(stores, prompts, models, lambda done, _: bar.update(done))
        planned = plan_catalogue(stores, prompts, tonight)
        quoted = price(stores, settings, planned, len(prompts))
    click.echo(json.dumps(quoted) if as_json else price_text(quoted))


@click.command()
@_catalogue
@_day
@_file
@_query
@reading_options
@click.option("--detach", is_flag=True, help="start it and return immediately")
@_json
def run(
    catalogue: str,
    day: datetime | None,
    file: Path | None,
    query: str | None,
    reading: dict[str, object],
    detach: bool,
    as_json: bool,
) -> int:
    """Run a night on the workers and wait for it to end."""
    with ledger(**reading) as (stores, settings), prefect(settings) as url:
        if file is not None or query is not None or reading:
            tonight = _tonight(stores, settings, catalogue)
            rows = stages.read_rows(tonight.settings, stages.Source(query, file))  # refused at once
            with stores.session() as session:
                claimed = claim_night(session, catalogue, _date(day))
                stages.store_rows(session, claimed.batch, rows)
        started = start_night(url, catalogue, _date(day))
        return 0 if detach else watch(stores, started, as_json)


@click.command()
@click.argument("run_name", metavar="RUN", default="latest")
@click.option("--detach", is_flag=True, help="start it and return immediately")
@_json
def retry(run_name: str, detach: bool, as_json: bool) -> int:
    """Make what a run is missing: failed subtrees, lost pictures, the report."""
    with ledger() as (stores, settings):
        with stores.session() as session:
            facts = summarise(session, find_run(session, run_name))
        if facts.images_missing == 0 and facts.state.value == "completed":
            click.echo(json.dumps({"run": str(facts.run)}) if as_json else "nothing is missing")
            return 0
        with prefect(settings) as url:
            started = start_retry(url, facts)
            return 0 if detach else watch(stores, started, as_json)


def _tonight(
    stores: Stores, settings: Settings, catalogue: str, batch: int | None = None
) -> CatalogueSettings:
    """Return the settings of a night; print a line where a tuned setting does not apply."""
    tonight = settings_for(stores, settings, catalogue, batch)
    if tonight.warning:
        click.echo(f"hierdiff: {tonight.warning}", err=True)
    return tonight


def _ingested(stores: Stores, catalogue: str, day: date) -> int | None:
    """Return the batch of a night that has its rows; None where it has none yet."""
    with stores.session() as session:
        night = find_night(session, catalogue, day)
    return night.batch if night is not None and night.state is BatchState.INGESTED else None


def _date(day: datetime | None) -> date:
    return date.today() if day is None else day.date()
