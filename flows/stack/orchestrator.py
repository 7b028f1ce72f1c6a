"""The Prefect server and its workers as processes of the stack, and this process as their client.

Pools, deployments and automations are in `flows.deployments`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx

from flows.stack.home import without_proxy
from flows.stack.services import Service

HEARTBEAT = 30  # seconds between heartbeats of a flow run; the least that Prefect accepts

_PREFECT = [sys.executable, "-m", "prefect"]


def server_command(port: int) -> list[str]:
    return [*_PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]


def worker_command(pool: str, name: str, limit: int) -> list[str]:
    """A process worker: it takes `limit` runs of `pool` at a time.

    With -P, since the folder one stands in may hold a package `flows` of its own.
    """
    return [sys.executable, "-P", "-m", "flows.worker", pool, name, str(limit)]


def prefect_environment(home: Path) -> dict[str, str]:
    """Settings of the server, the workers and the flow runs: local, silent, quick to react."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_PROFILES_PATH": str(home / "prefect" / "profiles.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "TRANSFORMERS_VERBOSITY": "error",  # it logs while it is imported
        **_ui_folder(home),
    }


def _ui_folder(home: Path) -> dict[str, str]:
    """Return where the server puts the files of its UI, if it may not write beside its code."""
    package = find_spec("prefect")
    beside = Path(package.origin).parent / "server" if package and package.origin else home
    if os.access(beside, os.W_OK):
        return {}  # they are there from an earlier start
    return {"PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "prefect" / "ui")}


def answers(api_url: str) -> bool:
    """Whether a Prefect server is ready to work at this address."""
    try:
        # A proxy set for the outside world does not apply to this machine.
        return httpx.get(f"{api_url}/health", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def worker_polls(worker: Service) -> bool:
    """Return whether a worker has started to ask for runs, by its own log: the server may still
    list the worker of an earlier start."""
    return worker.logged(f"Worker '{worker.name}' started!")


@contextmanager
def connected(addresses: Mapping[str, str]) -> Iterator[None]:
    """Make this process a client of a stack: our settings and Prefect's point at it."""
    before = dict(os.environ)
    os.environ.pop("PREFECT_API_KEY", None)
    os.environ.update({**addresses, **without_proxy(before)})
    try:
        with pointed_at(addresses):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def pointed_at(addresses: Mapping[str, str]) -> Iterator[None]:
    """Point Prefect's clients of this thread at a stack, without the key of any other server."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_KEY,
        PREFECT_API_URL,
        temporary_settings,
    )

    own = {each: addresses[each.name] for each in (PREFECT_API_URL, PREFECT_API_AUTH_STRING)}
    with temporary_settings(own, restore_defaults={PREFECT_API_KEY}):
        yield


def visible_gpus() -> int:
    """How many CUDA devices this machine offers, asked of the driver, not of torch: loading that
    would cost seconds here and a context on the first GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
        pynvml.nvmlShutdown()
    except Exception:  # no wheel, no driver, no device: every one of them means none
        return 0
    return count
