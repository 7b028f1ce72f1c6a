"""`hierdiff retry`: what a run is missing is made; nothing is planned here."""

from __future__ import annotations

import json

import click

from flows.commands.client import ledger, prefect
from flows.commands.options import json_option
from flows.commands.watch import show_link, watch
from flows.starts import NightStart, start_retry
from tasks.errors import NightReplaced
from tasks.ledger import find_night, find_run, summarise
from tasks.report.check import is_published
from tasks.requests import settings_of_run
from tasks.states import RunState


@click.command()
@click.argument("run_name", metavar="RUN", default="latest")
@click.option("--detach", is_flag=True, help="start it, print its link and return immediately")
@json_option
def retry(run_name: str, detach: bool, as_json: bool) -> int:
    """Make what a run is missing: failed subtrees, lost or damaged pictures, the report."""
    with ledger() as (stores, settings):
        with stores.session() as session:
            facts = summarise(session, find_run(session, run_name))
            night = find_night(session, facts.catalogue, facts.business_date)
        if facts.state is RunState.REPLACED:
            raise NightReplaced(run=facts.run)
        made = facts.images_missing == 0 and facts.state is RunState.COMPLETED
        if made and is_published(stores, facts.run):
            click.echo(json.dumps({"run": str(facts.run)}) if as_json else "nothing is missing")
            return 0
        asked = settings_of_run(stores, settings, facts.run).night
        replaced = night.replaced if night else 0
        start = NightStart(facts.catalogue, facts.business_date, asked, replaced)
        with prefect(settings) as url:
            started = start_retry(url, facts.flow_run_id, start)
            if detach:
                return show_link(started, as_json)
            return watch(stores, started, settings.patience_seconds, as_json)
