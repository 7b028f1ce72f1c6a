"""The command that hands a night's pictures over, after a review or with other settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict

import click

from flows.commands.client import ledger
from tasks.handover.deliver import Delivery, deliver
from tasks.handover_settings import HandOverSettings
from tasks.ledger import find_run
from tasks.requests import settings_of_run
from tasks.settings import PREFIX, Settings


@click.command("deliver")
@click.argument("run_name", metavar="[RUN]", default="latest")
@click.option("--json", "as_json", is_flag=True, help="machine-readable output")
def deliver_command(run_name: str, as_json: bool) -> None:
    """Hand a run's pictures over as they are judged now: files, tables, names.

    Settings of the hand-over are those of this shell where it has any, else the night's own.
    """
    with ledger() as (stores, settings):
        with stores.session() as session:
            run = find_run(session, run_name)
        tonight = of_this_shell(settings, settings_of_run(stores, settings, run))
        done = deliver(stores, tonight, run)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    for line in _lines(done):
        click.echo(line)


def of_this_shell(shell: Settings, night: Settings) -> Settings:
    """Return a night's settings with those of the hand-over that this shell sets."""
    given = [name for name in HandOverSettings.model_fields if os.environ.get(_variable(name))]
    return night.model_copy(update={name: getattr(shell, name) for name in given})


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _lines(done: Delivery) -> Iterator[str]:
    left = done.pictures - done.wanted
    yield f"{done.wanted:,} of {done.pictures:,} pictures" + (
        f"; {left:,} rejected or not accepted yet" if left else ""
    )
    if done.names is not None:
        yield (
            f"names    {done.names.index}: {done.names.copied:,} files copied, "
            f"{done.names.removed:,} old ones removed"
        )
