"""Commands around the servers: the embedded stack, deployments on any Prefect server, workers."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path

import click
from prefect.client.orchestration import get_client

from flows.commands.client import prefect
from flows.commands.options import catalogue_argument, reading_options
from flows.deployments import register_deployments, register_pools
from flows.messages import register_messages
from flows.schedules import schedule_nights, unschedule
from flows.stack import standalone as embedded
from flows.stack.orchestrator import HEARTBEAT, worker_command
from tasks.errors import NoSource
from tasks.settings import read_settings


@click.command()
@click.option(
    "--port", default=4200, show_default=True, help="port of the Prefect UI, if it is free"
)
@click.option("--gpus", type=int, help="workers in the pool gpu; one per GPU unless given")
def standalone(port: int, gpus: int | None) -> None:
    """Run PostgreSQL, S3, Prefect and its workers on this machine until Ctrl-C."""
    home = read_settings().home
    with embedded.standalone(home, gpus=gpus, port=port, announce=click.echo) as stack:
        click.echo(f"\n  Prefect UI   {stack.ui_url}")
        click.echo(f"  password     {stack.password}")
        click.echo(f"  files        {stack.home}")
        click.echo("  stop         Ctrl-C\n")
        threading.Event().wait()


@click.command()
def deploy() -> None:
    """Register pools, deployments and automations on the server at PREFECT_API_URL."""
    settings = read_settings()
    with prefect(settings) as url:
        register_pools(settings.text_pool)
        with get_client(sync_client=True) as client:
            register_messages(client, settings)
        log = Path(tempfile.gettempdir()) / f"hierdiff-deploy-{os.getpid()}.log"
        told, pool = {"PREFECT_API_URL": url}, settings.text_pool
        register_deployments(told, log, settings.night, text_pool=pool)
        log.unlink(missing_ok=True)
    click.echo(f"nightly, subtree and embed are deployed on {url}")


@click.command()
@catalogue_argument
@reading_options
@click.option("--cron", default="0 1 * * *", show_default=True, help="when, in HIERDIFF_TIMEZONE")
@click.option("--off", is_flag=True, help="remove the catalogue's schedule")
def schedule(catalogue: str, reading: dict[str, object], cron: str, off: bool) -> None:
    """Have a night of CATALOGUE made on a schedule, with the settings of this environment."""
    settings = read_settings(**reading)
    with prefect(settings) as url:
        if off:
            gone = unschedule(url, catalogue)
            click.echo(f"{catalogue} is no longer scheduled" if gone else "nothing to remove")
            return
        if settings.source_file is None and settings.source_query is None:
            raise NoSource()
        schedule_nights(url, catalogue, cron, settings.night)
    click.echo(f"{catalogue} is scheduled at `{cron}` in {settings.timezone}")


@click.command()
@click.option("--pool", default="gpu", show_default=True, help="gpu, cpu or HIERDIFF_TEXT_POOL")
@click.option("--gpu", default=0, show_default=True, help="number of the GPU to use")
@click.option("--limit", default=1, show_default=True, help="flow runs at a time")
def worker(pool: str, gpu: int, limit: int) -> None:
    """Serve a pool from this machine; start one worker per GPU."""
    device = "" if pool == "cpu" else str(gpu)
    # Without heartbeats the server never learns of a flow run that died with its machine.
    beat = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}
    # Work that another worker gave back goes on within seconds.
    beat["PREFECT_WORKER_QUERY_SECONDS"] = "2"
    # A supervisor's journal is no terminal, and is to show a line when it is written.
    beat["PYTHONUNBUFFERED"] = "1"
    environment = {**beat, **os.environ, "CUDA_VISIBLE_DEVICES": device}
    name = f"{os.uname().nodename}-{pool}-{gpu}"
    command = worker_command(pool, name, limit)
    # This process becomes the worker, so that signals of a supervisor reach it.
    os.execve(sys.executable, command, environment)
