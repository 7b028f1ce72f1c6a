"""What commands share: settings, stores and the Prefect server, of a stack or the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from flows.errors import NoPrefect, UnreachablePrefect
from flows.stack.home import read_stack_file
from flows.stack.orchestrator import answers, connected
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores


@contextmanager
def ledger(**given: object) -> Iterator[tuple[Stores, Settings]]:
    """Yield open stores and the settings they were opened with."""
    settings = read_settings(**given)
    with open_stores(settings) as stores:
        yield stores, settings


@contextmanager
def prefect(settings: Settings) -> Iterator[str]:
    """Make this process a client of the Prefect server and yield the address of its API.

    That is PREFECT_API_URL where it is set, else the stack's. Raises NoPrefect, UnreachablePrefect.
    """
    url = os.environ.get("PREFECT_API_URL")
    url = url or read_stack_file(settings.home).get("PREFECT_API_URL")
    if not url:
        raise NoPrefect()
    if not answers(url):
        raise UnreachablePrefect(url=url)
    with connected({"PREFECT_API_URL": url}):
        yield url
