"""Commands that make a night: ingest, plan, run."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from functools import partial
from pathlib import Path

import click

from flows.commands.asked import (
    find_asked,
    ingested_batch,
    read_source,
    settings_tonight,
    store_night,
    summary_of,
)
from flows.commands.client import ledger, prefect
from flows.commands.export import export_stored, take_plan, write_export
from flows.commands.options import catalogue_argument, json_option, reading_options, remake_options
from flows.commands.progress import progress_bar
from flows.commands.quote import from_nothing, price, price_text
from flows.commands.watch import report_end, show_link, watch
from flows.names import night_name
from flows.quiet import quiet_libraries
from flows.starts import NightStart, start_night
from tasks import stages
from tasks.again import Recalled, recall
from tasks.business_date import date_in_zone
from tasks.catalogue_settings import plan_catalogue
from tasks.embed import embed_prompts
from tasks.ingest import Ingested
from tasks.ledger import (
    Night,
    load_prompts,
    load_rejected,
)
from tasks.models import open_models
from tasks.rejected import by_kind
from tasks.remake import Remake
from tasks.risk import plan_without_nights, refusal, saving_unseen, saving_within
from tasks.settings import Settings
from tasks.states import RunState

_DATE = click.DateTime(["%Y-%m-%d"])
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)

_day = click.option("--date", "day", type=_DATE, help="business date; today unless given")
_file = click.option(
    "--file", type=_FILE, help="CSV, TSV, JSON, JSONL or TXT; - for standard input"
)
_query = click.option("--query", help="SQL for HIERDIFF_SOURCE_URL that returns a column `prompt`")
_replace = click.option(
    "--replace",
    is_flag=True,
    help="make the night anew where it exists; pictures that still fit are kept",
)
_fresh = click.option(
    "--fresh",
    "without_splits",
    is_flag=True,
    help="let no new row go on from an earlier night's split",
)
_accept = click.option(
    "--accept-loss",
    is_flag=True,
    help="make it although its budget is predicted to lose more than HIERDIFF_LOSS",
)


@click.command()
@catalogue_argument
@_day
@_file
@_query
@reading_options
@_replace
@json_option
def ingest(
    catalogue: str,
    day: datetime | None,
    file: Path | None,
    query: str | None,
    reading: dict[str, object],
    replace: bool,
    as_json: bool,
) -> None:
    """Store the rows of a night, without planning or running it."""
    with ledger(**reading) as (stores, settings):
        date, source = _date(settings, day), stages.Source(query, file)
        given = store_night(stores, settings, catalogue, date, source, replace)
    found = {
        "catalogue": catalogue,
        "business_date": date.isoformat(),
        "stored": given.fresh,
        "prompts": len(given.rows.prompts),
        "rejected": [{"row": row.row, "reason": row.reason} for row in given.rows.rejected],
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    outcome = "stored" if given.fresh else "read; the night has the same rows already"
    click.echo(f"{len(given.rows.prompts)} prompts {outcome}")
    for kind in by_kind(given.rows.rejected):
        click.echo(f"  rejected: {kind.line()}")


@click.command()
@catalogue_argument
@_day
@_file
@_query
@reading_options
@remake_options
@click.option(
    "--export",
    "export",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="write the night to a file that `hierdiff run --plan` runs elsewhere; one that has a run "
    "is written as it was planned",
)
@_fresh
@json_option
def plan(
    catalogue: str,
    day: datetime | None,
    file: Path | None,
    query: str | None,
    reading: dict[str, object],
    remake: Remake,
    export: Path | None,
    without_splits: bool,
    as_json: bool,
) -> None:
    """Show what a night would cost. Stores the embeddings, which the night reuses, and no more."""
    quiet_libraries()
    with ledger(**_given(reading, without_splits)) as (stores, settings):
        date, source = _date(settings, day), stages.Source(query, file)
        if export is not None and not (source.is_named or reading or remake.names):
            run = export_stored(stores, catalogue, date, export)
            if run is not None:
                click.echo(json.dumps({"run": run}) if as_json else f"run {run} is in {export}")
                return
        night = (
            None
            if source.is_named or reading
            else ingested_batch(stores, settings, catalogue, date)
        )
        tonight = settings_tonight(stores, settings, catalogue, night)
        if night is None:
            rows = read_source(tonight.settings, source)
            prompts, rejected = rows.prompts, rows.rejected
        else:
            with stores.session() as session:
                prompts, rejected = load_prompts(session, night), load_rejected(session, night)
        recalled = Recalled(tuple(prompts))
        if night is None or remake.names:
            most = tonight.settings.remakes
            with stores.session() as session:
                recalled = recall(session, catalogue, prompts, remake, most)
        prompts = recalled.prompts
        with progress_bar(quiet=as_json or not sys.stderr.isatty()) as report:
            models = open_models(tonight.settings)
            embed_prompts(stores, prompts, models, partial(report, "embedding"))
        planned = plan_catalogue(stores, prompts, tonight, catalogue)
        quoted = price(stores, settings, planned, len(prompts))
        quoted |= {"again": recalled.again, "waiting": recalled.waiting}
        quoted["refused"] = refusal(tonight, planned) is not None
        quoted["saving_within"] = saving_within(stores, prompts, tonight, planned.forest)
        quoted["saving_unseen"] = saving_unseen(stores, prompts, tonight, planned.forest)
        quoted["from_nothing"] = from_nothing(
            plan_without_nights(stores, prompts, tonight, planned.forest)
        )
        if export is not None:
            made = Ingested(tuple(prompts), tuple(rejected))
            write_export(stores, tonight.settings, export, made, planned)
    quoted |= {
        "night": night_name(catalogue, date, settings.timezone),
        "business_date": date.isoformat(),
        "timezone": settings.timezone,
        "rejected": [{"row": row.row, "reason": row.reason} for row in rejected],
    }
    click.echo(json.dumps(quoted) if as_json else price_text(quoted))


@click.command()
@catalogue_argument
@_day
@_file
@_query
@reading_options
@_replace
@remake_options
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="run the night of a file that `hierdiff plan --export` wrote, to the same pictures",
)
@click.option("--detach", is_flag=True, help="start it, print its link and return immediately")
@_fresh
@_accept
@json_option
def run(
    catalogue: str,
    day: datetime | None,
    file: Path | None,
    query: str | None,
    reading: dict[str, object],
    replace: bool,
    remake: Remake,
    plan_file: Path | None,
    detach: bool,
    without_splits: bool,
    accept_loss: bool,
    as_json: bool,
) -> int:
    """Run a night on the workers and wait for it to end."""
    given = {**_given(reading, without_splits), **({"accept_loss": True} if accept_loss else {})}
    with ledger(**given) as (stores, settings), prefect(settings) as url:
        date, source = _date(settings, day), stages.Source(query, file)
        asked, fresh = settings.night, replace
        night: Night | None
        if plan_file is not None:
            if source.is_named or reading or remake.names:
                raise click.UsageError("--plan brings its rows; leave out what names or reads any")
            night, asked = take_plan(stores, settings, catalogue, date, plan_file, replace)
            fresh = False
        elif source.is_named or reading or remake.names:
            night = store_night(stores, settings, catalogue, date, source, replace, remake).night
            # What was read and stored here is not read again there.
            asked, fresh = asked.without_source(), False
            if night is not None and night.run_state is RunState.COMPLETED:
                return report_end(summary_of(stores, night), "", as_json)
        else:
            night = find_asked(stores, settings, catalogue, date, replace)
        replaced = night.replaced if night else 0
        start = NightStart(catalogue, date, asked, replaced, replace=fresh and night is not None)
        started = start_night(url, start)
        if detach:
            return show_link(started, as_json)
        return watch(stores, started, settings.patience_seconds, as_json)


def _given(reading: dict[str, object], without_splits: bool) -> dict[str, object]:
    """Return the settings that options give."""
    return {**reading, "joins": False} if without_splits else reading


def _date(settings: Settings, day: datetime | None) -> date:
    return date_in_zone(settings.timezone) if day is None else day.date()
