"""Two workers in each pool of a stack, from which some are taken while a night is made."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psutil
from sqlalchemy import text

from benchmarks.catalogue import make_texts
from benchmarks.faults.full_stack import CATALOGUE
from benchmarks.faults.worker import environment
from benchmarks.lab import Lab
from flows.stack import orchestrator
from flows.stack.home import clean_environment
from flows.stack.standalone import Stack, standalone
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores

_READY = 300.0  # seconds; the machine may be busy
# Processes that do not see each other have to trust the lease; only root may do so.
_APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
ATTEMPTS = {
    "gpu": "SELECT coalesce(sum(attempts), 0) FROM subtrees WHERE shard > 0",
    "cpu": "SELECT coalesce(sum(attempts), 0) FROM batches",
}
HELD = {
    "gpu": "SELECT count(*) FROM subtrees WHERE lease_owner IS NOT NULL AND shard > 0",
    "cpu": "SELECT count(*) FROM batches WHERE lease_owner IS NOT NULL",
}


@dataclass
class Crew:
    """Two workers of each pool, on one stack."""

    stack: Stack
    stores: Stores
    settings: Settings
    file: Path
    workers: dict[str, list[psutil.Popen]] = field(default_factory=lambda: {"cpu": [], "gpu": []})
    started: int = 0
    apart: bool = False  # each worker on what others take for a machine of its own

    def fill(self) -> None:
        """Have two workers in each pool, and wait until they are ready."""
        new: list[Path] = []
        for pool, there in self.workers.items():
            there[:] = [each for each in there if each.poll() is None]
            while len(there) < 2:
                there.append(self._start(pool, new))
        until = time.monotonic() + _READY
        while not all("started!" in log.read_text() for log in new) and time.monotonic() < until:
            time.sleep(0.1)
        workers = [each for there in self.workers.values() for each in there]
        while new and not all(map(_is_warm, workers)) and time.monotonic() < until:
            time.sleep(0.1)

    def busy(self, pool: str, seconds: float) -> psutil.Popen | None:
        """Return a worker that has a flow run and its lease, waiting so long for one."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for worker in self.workers[pool]:
                with suppress(psutil.NoSuchProcess):
                    if self.count(HELD[pool]) and any(map(is_run, worker.children(recursive=True))):
                        return worker
            time.sleep(0.02)
        return None

    def count(self, query: str) -> int:
        """Return the one number of a query."""
        with self.stores.session() as session:
            return int(session.execute(text(query)).scalar_one())

    def ask(self, day: date) -> subprocess.Popen[str]:
        """Start the command of whoever waits for a night."""
        given = environment(self.settings)
        words = ("run", CATALOGUE, "--file", str(self.file), "--date", day.isoformat(), "--fresh")
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("hierdiff")), *words],
            env=clean_environment(self.stack.home) | given | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _start(self, pool: str, logs: list[Path]) -> psutil.Popen:
        self.started += 1
        name = f"{pool}-{self.started}"
        log = self.stack.home / "logs" / f"{name}.log"
        logs.append(log)
        service = self.stack.services[f"worker-{pool}"]
        with log.open("wb") as output:
            return psutil.Popen(
                [*(_APART if self.apart else ()), *orchestrator.worker_command(pool, name, 1)],
                env={
                    **service.environment,
                    "OMP_NUM_THREADS": "1",
                    "HIERDIFF_DEVICE": "cpu",
                    "HIERDIFF_SLOTS": "4",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
            )

    def forget(self) -> None:
        """Put everything back to where no night has been; embeddings are kept."""
        with self.stores.session() as session:
            session.execute(text("TRUNCATE catalogues CASCADE"))
        for key in list(self.stores.bucket.list()):
            if not key.startswith("embeddings/"):
                self.stores.bucket.delete(key)


def _is_warm(worker: psutil.Process) -> bool:
    """Whether a worker's fork server has imported all that it will."""
    with suppress(psutil.Error):
        for child in worker.children(recursive=True):
            if "flows.warm.server" in child.cmdline():
                return child.cpu_percent(interval=0.3) < 5.0
    return False


def is_run(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(each.endswith("launcher.py") for each in process.cmdline())
    return False


@contextmanager
def open_crew(
    lab: Lab, prompts: int, given: Mapping[str, object], *, apart: bool = False
) -> Iterator[Crew]:
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder).resolve(), gpus=0, patience=_READY, announce=lab.say) as stack,
        orchestrator.connected(stack.addresses),
    ):
        for pool in ("cpu", "gpu"):
            stack.services[f"worker-{pool}"].stop()
        file = stack.home / "catalogue.tsv"
        file.write_text("\n".join(["prompt", *make_texts()[:prompts]]) + "\n")
        settings = read_settings(home=stack.home, device="cpu", **given)
        with open_stores(settings) as stores:
            crew = Crew(stack, stores, settings, file, apart=apart)
            try:
                yield crew
            finally:
                for worker in (each for there in crew.workers.values() for each in there):
                    for process in (worker, *worker.children(recursive=True)):
                        with suppress(psutil.NoSuchProcess):
                            process.kill()
