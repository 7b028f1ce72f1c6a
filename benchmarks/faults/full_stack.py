"""The whole stack, its workers behind proxies, and nights on it that start from nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from sqlalchemy import make_url, text

from benchmarks.catalogue import make_texts
from benchmarks.errors import NightFailed
from benchmarks.faults.proxy import Proxy, proxy_to_port, proxy_to_unix
from benchmarks.faults.s3_proxy import S3Proxy, s3_proxy
from benchmarks.faults.worker import environment
from benchmarks.lab import Lab
from flows.stack import orchestrator
from flows.stack.home import clean_environment
from flows.stack.standalone import Stack, standalone
from tasks.ledger import RunSummary, find_night, load_previews, stored_segments, summarise
from tasks.object_keys import (
    checkpoint_key,
    manifest_key,
    picture_key,
    preview_key,
    report_key,
)
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores

CATALOGUE = "shop"
_DISK = 48  # megabytes, where a disk of its own can be had
_READY = 600.0  # seconds; the machine may be busy
_SETTLED = 60.0  # seconds in which what a night has started has ended


@dataclass(frozen=True)
class Place:
    """A stack under way; the proxies stand between its workers and its servers."""

    stack: Stack
    settings: Settings
    stores: Stores  # past the proxies
    file: Path
    ledger: Proxy
    prefect: Proxy
    objects: S3Proxy
    disk: Path | None  # of the S3 server, a small one of its own

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the command line of whoever waits for a night, past the proxies."""
        given = environment(self.settings)
        for name in ("HIERDIFF_DATABASE_URL", "HIERDIFF_S3_ENDPOINT_URL"):
            given.pop(name, None)  # the stack's file has them
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("hierdiff")), *words],
            env=clean_environment(self.stack.home) | given | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def await_work(self, day: date, share: float, seconds: float = 600.0) -> None:
        """Wait until a night has done so much of its evaluations."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            run = find_run_of(self.stores, day)
            if run is not None:
                facts = read_facts(self.stores, run)
                if facts.evaluations_done > share * facts.evaluations_planned:
                    return
            time.sleep(0.05)
        raise NightFailed(day=day)

    def left_behind(self, run: UUID) -> str:
        """Return what a night that has ended has left behind: leases, rows, objects, flow runs."""
        with self.stores.session() as session:
            count = {
                name: session.execute(text(query)).scalar_one() for name, query in _LEFT.items()
            }
        count["objects"] = len(self._unnamed(run))
        count["flow runs"] = _open_flow_runs()
        return ", ".join(f"{number} {name}" for name, number in count.items() if number)

    def _unnamed(self, run: UUID) -> set[str]:
        """Return the files of the bucket that no row refers to."""
        with self.stores.session() as session:
            stored, previews = stored_segments(session, run), load_previews(session, run)
        digests = {each.sha256 for each in stored.values()}
        named = {manifest_key(run), report_key(run)}
        named |= {make(each) for make in (checkpoint_key, picture_key) for each in digests}
        named |= {preview_key(each) for each in previews.values()}
        folder = self.stack.home / "s3" / self.settings.s3_bucket
        there = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}
        return there - named

    def forget(self) -> None:
        """Put everything back to where no night has been; embeddings are kept."""
        with self.stores.session() as session:
            session.execute(text("TRUNCATE catalogues CASCADE"))
        for key in list(self.stores.bucket.list()):
            self.stores.bucket.delete(key)


_LEFT = {
    "leases": "SELECT (SELECT count(*) FROM subtrees WHERE lease_owner IS NOT NULL)"
    " + (SELECT count(*) FROM batches WHERE lease_owner IS NOT NULL)",
    "segments": "SELECT count(*) FROM segments WHERE state <> 'done'",
    "runs": "SELECT count(*) FROM runs WHERE state <> 'completed'",
}


def _open_flow_runs() -> int:
    """Return how many flow runs have not ended, a while after the night has."""
    until = time.monotonic() + _SETTLED
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_flow_runs()
            left = sum(each.state is None or not each.state.is_final() for each in runs)
            if not left or time.monotonic() > until:
                return left
            time.sleep(1.0)


@contextmanager
def full_stack(lab: Lab, prompts: int, given: Mapping[str, object]) -> Iterator[Place]:
    """Run the whole stack for the block, with nights of N prompts; `given` are settings."""
    with ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="hierdiff-bench-"))
        home = Path(folder).resolve()
        disk = held.enter_context(_own_disk(home / "s3"))
        stack = held.enter_context(standalone(home, gpus=0, patience=_READY, announce=lab.say))
        file = home / "catalogue.tsv"
        file.write_text("\n".join(["prompt", *make_texts()[:prompts]]) + "\n")
        held.enter_context(orchestrator.connected(stack.addresses))
        settings = read_settings(home=home, device="cpu", **given)
        stores = held.enter_context(open_stores(settings))
        socket = f"{make_url(stores.engine.url).query['host']}/.s.PGSQL.5432"
        ledger = held.enter_context(proxy_to_unix(socket))
        port = make_url(stack.api_url).port or 0
        prefect = held.enter_context(proxy_to_port(port))
        objects = held.enter_context(s3_proxy(str(settings.s3_endpoint_url)))
        _put_behind(stack, stores, ledger, prefect, objects)
        yield Place(stack, settings, stores, file, ledger, prefect, objects, disk)


def _put_behind(
    stack: Stack, stores: Stores, ledger: Proxy, prefect: Proxy, objects: S3Proxy
) -> None:
    """Start the workers again, with the addresses of the proxies."""
    database = stores.engine.url.database
    there = {
        "HIERDIFF_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{ledger.port}/{database}",
        "HIERDIFF_S3_ENDPOINT_URL": objects.endpoint,
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect.port}/api",
        "OMP_NUM_THREADS": "1",
        "HIERDIFF_DEVICE": "cpu",
        "HIERDIFF_SLOTS": "4",
    }
    workers = [each for name, each in stack.services.items() if name.startswith("worker")]
    for worker in workers:
        worker.stop()
        worker.environment = {**worker.environment, **there}
        worker.start()
    for worker in workers:
        worker.await_ready(_READY)


@contextmanager
def _own_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small disk for the block, where this user may."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte; return the file that does."""
    file = disk / "full"
    with suppress(OSError), file.open("wb", buffering=0) as opened:
        while True:
            opened.write(bytes(1 << 16))
    with suppress(OSError), file.open("ab", buffering=0) as opened:
        while True:
            opened.write(bytes(256))
    return file


def said(command: subprocess.Popen[str], seconds: float) -> tuple[int, str]:
    """Return a command's exit code and the last line that it refused with, if any."""
    try:
        _, errors = command.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(command.pid, 9)
        command.communicate()
        return -9, "did not end"
    lines = [each for each in errors.splitlines() if each.startswith("hierdiff: ")]
    return command.returncode, lines[-1] if lines else ""


def find_run_of(stores: Stores, day: date) -> UUID | None:
    """Return the run of a day's night, as soon as it has a plan."""
    with stores.session() as session:
        night = find_night(session, CATALOGUE, day)
    return night.run if night is not None else None


def read_facts(stores: Stores, run: UUID) -> RunSummary:
    """Return a run's figures."""
    with stores.session() as session:
        return summarise(session, run)
