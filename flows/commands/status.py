"""Commands that inspect nights: status, report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from flows.children import child_name
from flows.commands.client import ask_prefect, ledger
from flows.commands.options import json_option
from hierdiff_core.printable import printable
from tasks.ledger import RunLine, RunSummary, find_run, list_runs, summarise
from tasks.losses import loss_text
from tasks.rejected import by_kind
from tasks.report.expense import kwh, not_measured
from tasks.report.gather import gather_report, nothing_shared
from tasks.report.headline import duration, energy_text
from tasks.report.page import render_report
from tasks.requests import settings_of_run
from tasks.saving import saved_text


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@json_option
def status(run_name: str | None, as_json: bool) -> None:
    """List the latest runs, or show one run with its subtrees."""
    with ledger() as (stores, settings):
        ask_prefect(stores, settings)
        with stores.session() as session:
            if run_name is None:
                runs = list_runs(session)
                click.echo(_dump([asdict(each) for each in runs])) if as_json else _show_runs(runs)
                return
            facts = summarise(session, find_run(session, run_name))
    click.echo(_dump(asdict(facts) | {"saving": facts.saving})) if as_json else _show_run(facts)


@click.command()
@click.argument("run_name", metavar="[RUN]", default="latest")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML file to write",
)
def report(run_name: str, out: Path) -> None:
    """Write a run's report, as it stands now, to one HTML file."""
    with ledger() as (stores, settings):
        with stores.session() as session:
            run = find_run(session, run_name)
        tonight = settings_of_run(stores, settings, run)
        page = render_report(gather_report(stores, tonight, run))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page)
    click.echo(out)


def _show_runs(runs: tuple[RunLine, ...]) -> None:
    if not runs:
        click.echo("no runs yet; start one with `hierdiff run CATALOGUE --file prompts.csv`")
        return
    table = Table("run", "catalogue", "date", "state", "images", box=None, pad_edge=False)
    for line in runs:
        images = f"{line.images}/{line.leaves}"
        date = line.business_date.isoformat()
        table.add_row(str(line.run), line.catalogue, date, line.state.value, images)
    Console().print(table, markup=False)


def _show_run(facts: RunSummary) -> None:
    click.echo(f"{facts.catalogue} {facts.business_date}: {facts.state.value}, run {facts.run}")
    click.echo(
        f"{facts.images}/{facts.images_expected} images, {facts.evaluations_planned:,} evaluations "
        f"planned instead of {facts.evaluations_standard:,} ({saved_text(facts.spending)}), "
        f"{facts.evaluations_done:,} done, {facts.evaluations_reused:,} reused from earlier nights"
    )
    if why := nothing_shared(facts):
        click.echo(f"nothing is shared: {why}")
    else:
        click.echo(f"quality: {loss_text(facts.losses)}")
    if facts.tuned is not None:
        click.echo(f"planned with the catalogue's own setting, {facts.tuned}")
    stages = ", ".join(f"{stage} {duration(each)}" for stage, each in facts.seconds.items())
    click.echo(f"time: {stages or 'nothing measured yet'}")
    if facts.energy:
        used, missing = kwh(facts.energy), not_measured(facts.energy)
        known = [] if used is None else [energy_text(used)]
        click.echo("energy: " + "; ".join([*known, *(f"not measured, {each}" for each in missing)]))
    table = Table("subtree", "state", "done", "attempts", "held by", "error", box=None)
    for line in facts.subtrees:
        done = f"{line.evaluations_done}/{line.evaluations_planned}"
        row = (child_name(line.shard), line.state.value, done, str(line.attempts))
        table.add_row(*row, line.lease_owner or "", printable(line.error or ""))
    Console().print(table, markup=False)
    for aside in facts.set_aside:
        click.echo(printable(f"set aside after {aside.failures} attempts: {aside}"))
    for often in facts.rejected_often:
        click.echo(printable(f"rejected too often, for a person: {often}"))
    for kind in by_kind(facts.rejected):
        click.echo(f"rejected: {kind.line()}")


def _dump(value: object) -> str:
    return json.dumps(value, default=str)
