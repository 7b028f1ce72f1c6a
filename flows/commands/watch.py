"""Watching a night from the terminal: one bar for its evaluations, until it ends."""

from __future__ import annotations

import json
import sys
import time
from uuid import UUID

import click
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.utilities.urls import url_for
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows.question import Question
from tasks.ledger import RunSummary, find_night_run, summarise
from tasks.losses import loss_text
from tasks.report.gather import nothing_shared
from tasks.saving import saved_text
from tasks.stores import Stores

_POLL = 1.0  # seconds
_ENDS = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED})


def watch(stores: Stores, flow_run: UUID, patience: float, as_json: bool = False) -> int:
    """Show a night's progress until its flow run ends; return 0 where it is complete, else 1.

    A server may be away for `patience` seconds at a time.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=as_json) as bar:
        task = bar.add_task("waiting for a worker", total=None)
        with get_client(sync_client=True) as client:
            look = Question(
                lambda: (client.read_flow_run(flow_run).state, _facts(stores, flow_run)), patience
            )
            while True:
                found = look()
                if found is None:
                    bar.update(task, description="no answer from the servers, asking again")
                    time.sleep(_POLL)
                    continue
                state, facts = found
                if facts is None and state is not None:
                    bar.update(task, description=_waiting(state.name or "Pending"))
                elif facts is not None:
                    done = facts.evaluations_planned - _left(facts)
                    images = f"{facts.images} of {facts.images_expected} images"
                    bar.update(
                        task, description=images, completed=done, total=facts.evaluations_planned
                    )
                if state is not None and state.type in _ENDS:
                    break
                time.sleep(_POLL)
    return report_end(facts, state.message or state.type.value, as_json)


def show_link(flow_run: UUID, as_json: bool = False) -> int:
    """Print which flow run was started, and where to watch it; return 0."""
    with get_client(sync_client=True) as client:
        name = client.read_flow_run(flow_run).name
    link = url_for("flow-run", obj_id=flow_run)
    found = {"flow_run": str(flow_run), "name": name, "link": link}
    click.echo(json.dumps(found) if as_json else f"{name}: {link}")
    return 0


def report_end(facts: RunSummary | None, message: str, as_json: bool) -> int:
    """Print what a night has come to; return 0 where it is complete, else 1."""
    if facts is None:
        click.echo(f"hierdiff: the night was not planned: {message}", err=True)
        return 1
    complete = facts.images_missing == 0 and facts.state.value == "completed"
    if as_json:
        found = {"run": str(facts.run), "state": facts.state.value, "images": facts.images}
        click.echo(json.dumps(found | {"missing": facts.images_missing}))
    else:
        click.echo(
            f"run {facts.run}: {facts.images} images{_kept(facts)}, "
            f"{facts.evaluations_done:,} evaluations "
            f"instead of {facts.evaluations_standard:,} ({saved_text(facts.spending)})"
        )
        if why := nothing_shared(facts):
            click.echo(f"nothing was shared: {why}")
        else:
            click.echo(f"quality: {loss_text(facts.losses)}")
    if not complete:
        click.echo(
            f"hierdiff: {facts.images_missing} images are missing ({message}); "
            f"`hierdiff retry {facts.run}` makes them",
            err=True,
        )
    return 0 if complete else 1


def _kept(facts: RunSummary) -> str:
    return f" ({facts.images_kept:,} kept from earlier nights)" if facts.images_kept else ""


def _waiting(state: str) -> str:
    return {
        "Running": "reading, embedding, planning",
        "Crashed": "crashed, will be retried",
    }.get(state, "waiting for a worker")


def _facts(stores: Stores, flow_run: UUID) -> RunSummary | None:
    with stores.session() as session:
        run = find_night_run(session, str(flow_run))
        return None if run is None else summarise(session, run)


def _left(facts: RunSummary) -> int:
    spent = facts.evaluations_done + facts.evaluations_reused
    return max(0, facts.evaluations_planned - spent)
