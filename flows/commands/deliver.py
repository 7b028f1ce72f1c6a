"""The command that hands a night's pictures over, after a review or with other settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict

import click

from flows.commands.client import ledger
from flows.commands.options import json_option
from hierdiff_core.printable import brief
from tasks.handover.deliver import Delivery, check_told, deliver
from tasks.handover_settings import HandOverSettings
from tasks.ledger import find_run
from tasks.requests import settings_of_run
from tasks.settings import PREFIX, Settings

_NAMED = 8  # pictures that a line names


@click.command("deliver")
@click.argument("run_name", metavar="[RUN]", default="latest")
@click.option("--dry-run", is_flag=True, help="say what would be done, and write nothing")
@json_option
def deliver_command(run_name: str, dry_run: bool, as_json: bool) -> None:
    """Hand a run's pictures over as they are judged now: files, tables, names, result query.

    Settings of the hand-over are those of this shell where it has any, else the night's own.
    """
    with ledger() as (stores, settings):
        with stores.session() as session:
            run = find_run(session, run_name)
        tonight = of_this_shell(settings, settings_of_run(stores, settings, run))
        done = deliver(stores, tonight, run, dry_run=dry_run)
    for line in [json.dumps(asdict(done))] if as_json else _lines(done, dry_run):
        click.echo(line)
    check_told(done)


def of_this_shell(shell: Settings, night: Settings) -> Settings:
    """Return a night's settings with those of the hand-over that this shell sets."""
    given = [name for name in HandOverSettings.model_fields if os.environ.get(_variable(name))]
    return night.model_copy(update={name: getattr(shell, name) for name in given})


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _lines(done: Delivery, dry_run: bool) -> Iterator[str]:
    left = done.pictures - done.wanted
    yield f"{done.wanted:,} of {done.pictures:,} pictures" + (
        f"; {left:,} rejected or not accepted yet" if left else ""
    )
    if done.names is not None:
        yield (
            f"names    {done.names.index}: {done.names.copied:,} files copied, "
            f"{done.names.removed:,} old ones removed"
        )
    if done.told is not None:
        told, would = done.told, "would be " if dry_run else ""
        yield f"shop     {told.written:,} {would}written, {told.unchanged:,} as they were"
        if told.unmatched:
            more = len(told.unmatched) - _NAMED
            named = ", ".join(str(brief(name)) for name in told.unmatched[:_NAMED])
            yield f"  no row for {named}" + (f" and {more:,} more" if more > 0 else "")
