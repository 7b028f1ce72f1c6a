"""The command that lets a monitor read the ledger."""

from __future__ import annotations

import threading

import click
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from flows.commands.client import ledger
from flows.errors import PortTaken
from tasks.metrics import LedgerCollector

PORT = 9464


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
@click.option("--once", is_flag=True, help="print the metrics and end")
def metrics(host: str, port: int, once: bool) -> None:
    """Serve figures of the nights in the OpenMetrics format, for Prometheus and others."""
    with ledger() as (stores, settings):
        registry = CollectorRegistry()
        registry.register(LedgerCollector(stores, settings))
        if once:
            click.echo(generate_latest(registry).decode(), nl=False)
            return
        try:
            server, serving = start_http_server(port, host, registry)
        except OSError as error:
            raise PortTaken(host=host, port=port, reason=error.strerror) from None
        click.echo(f"http://{host}:{server.server_port}/metrics until Ctrl-C")
        try:
            threading.Event().wait()
        finally:
            server.shutdown()
            serving.join()
