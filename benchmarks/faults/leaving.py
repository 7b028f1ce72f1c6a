"""Workers that are asked to stop, or lost with all they started, while a night is made.

Two workers serve each pool. One that has a flow run is signalled at a random moment; the other one
of its pool is to take over, and a new one takes its place before the next signal.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import psutil
from sqlalchemy import text

from benchmarks.catalogue import make_texts
from benchmarks.errors import NightFailed
from benchmarks.faults.full_stack import CATALOGUE, said
from benchmarks.faults.two_workers import pictures
from benchmarks.faults.worker import environment
from benchmarks.lab import Lab
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from flows.stack import orchestrator
from flows.stack.home import clean_environment
from flows.stack.standalone import Stack, standalone
from tasks.ledger import RunSummary, find_night, summarise
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_stores

TITLE = "Workers that are stopped or lost under a night"
PROMPTS = 48
NIGHT: Mapping[str, object] = {
    "steps": 20,
    "saving": 0.4,
    "accept_loss": True,
    "shards": 1,
    "solver": "ddpm",
    "slots": 4,
    "options": {"prior_steps": 5},
}
GRACE = 10.0  # seconds in which a worker is to be gone
TAKEN = 5.0  # seconds in which another one is to have what it gave back
LEASE = 60.0  # seconds, the default; in which another one is to have what was lost
_READY = 300.0  # seconds; the machine may be busy
_PATIENCE = 1800.0  # seconds that a night is given
_FIRST = date(2026, 2, 1)
_PAUSE = (0.5, 6.0)  # seconds between a worker being ready and the next signal, at random
_POOLS = ("gpu", "gpu", "cpu")  # in turns
_ATTEMPTS = {
    "gpu": "SELECT coalesce(sum(attempts), 0) FROM subtrees WHERE shard > 0",
    "cpu": "SELECT coalesce(sum(attempts), 0) FROM batches",
}
_HELD = {
    "gpu": "SELECT count(*) FROM subtrees WHERE lease_owner IS NOT NULL AND shard > 0",
    "cpu": "SELECT count(*) FROM batches WHERE lease_owner IS NOT NULL",
}


@dataclass(frozen=True)
class Gone:
    """A worker that was signalled, and what came of it."""

    pool: str
    fault: str  # stopped or lost
    code: int
    seconds: float  # until it was gone
    taken: float | None  # seconds until another one had its lease; None where it had none

    @property
    def good(self) -> bool:
        """Whether it went as it should, and another one took over in time."""
        if self.fault == "lost":
            return self.taken is not None and self.taken <= LEASE + TAKEN
        in_time = self.taken is None or self.taken <= TAKEN
        return self.code == 0 and self.seconds <= GRACE and in_time


@dataclass(frozen=True)
class Night:
    """A night whose workers went, as it came out."""

    code: int  # of the waiting command
    workers: int
    doubled: int  # evaluations above those planned
    wrong: int  # pictures that are missing or whose bits are not the undisturbed night's


@dataclass
class Crew:
    """Two workers of each pool, on one stack."""

    stack: Stack
    stores: Stores
    settings: Settings
    file: Path
    workers: dict[str, list[psutil.Popen]] = field(default_factory=lambda: {"cpu": [], "gpu": []})
    started: int = 0

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
                    if self.count(_HELD[pool]) and any(map(_is_run, worker.children())):
                        return worker
            time.sleep(0.02)
        return None

    def count(self, query: str) -> int:
        """Return the one number of a query."""
        with self.stores.session() as session:
            return int(session.execute(text(query)).scalar_one())

    def run_of(self, day: date) -> UUID | None:
        """Return the run of a day's night, once it has a plan."""
        with self.stores.session() as session:
            night = find_night(session, CATALOGUE, day)
        return night.run if night is not None else None

    def facts(self, run: UUID) -> RunSummary:
        """Return a run's figures."""
        with self.stores.session() as session:
            return summarise(session, run)

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
                orchestrator.worker_command(pool, name, 1),
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


def stopped_workers(
    lab: Lab, count: int, seed: int, fault: str = "stopped"
) -> Iterator[Gone | Night]:
    """Yield each worker that went, and each night in which some did, until `count` have gone."""
    chance = random.Random(seed)
    with _crew(lab) as crew:
        wanted = _undisturbed(crew)
        gone, day = 0, _FIRST
        while gone < count:
            _forget(crew)
            day += timedelta(days=1)
            waiting, mine = crew.ask(day), 0
            while waiting.poll() is None and gone < count:
                crew.fill()
                time.sleep(chance.uniform(*_PAUSE))
                one = _signal(
                    crew, _POOLS[gone % len(_POOLS)] if fault == "stopped" else "gpu", fault
                )
                if one is not None:
                    gone, mine = gone + 1, mine + 1
                    yield one
            crew.fill()
            yield _end(crew, waiting, day, mine, wanted)


def _signal(crew: Crew, pool: str, fault: str) -> Gone | None:
    worker = crew.busy(pool, 5.0)
    if worker is None:
        return None
    before = crew.count(_ATTEMPTS[pool])
    family = [worker, *worker.children(recursive=True)] if fault == "lost" else [worker]
    began = time.monotonic()
    for each in family:
        with suppress(psutil.NoSuchProcess):
            os.kill(each.pid, signal.SIGKILL if fault == "lost" else signal.SIGTERM)
    seconds = code = taken = None
    until = began + 2 * LEASE
    while time.monotonic() < until and (code is None or taken is None):
        now = time.monotonic() - began
        if code is None and worker.poll() is not None:
            code, seconds = worker.returncode, now
        if taken is None and crew.count(_ATTEMPTS[pool]) > before and crew.count(_HELD[pool]):
            taken = now
        if taken is None and code is not None and _is_over(crew, pool):
            break
        time.sleep(0.02)
    return Gone(pool, fault, -99 if code is None else code, seconds or 2 * LEASE, taken)


def _is_over(crew: Crew, pool: str) -> bool:
    """Whether nothing is left to take over: the work had ended before the signal came."""
    query = {
        "gpu": "SELECT count(*) FROM subtrees WHERE state <> 'completed'",
        "cpu": "SELECT count(*) FROM batches b LEFT JOIN runs r ON r.batch_id = b.id"
        " WHERE r.state IS DISTINCT FROM 'completed'",
    }
    return crew.count(query[pool]) == 0


def _is_warm(worker: psutil.Process) -> bool:
    """Whether a worker's fork server has imported all that it will."""
    with suppress(psutil.Error):
        for child in worker.children():
            if "flows.warm.server" in child.cmdline():
                return child.cpu_percent(interval=0.3) < 5.0
    return False


def _is_run(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(each.endswith("launcher.py") for each in process.cmdline())
    return False


def _undisturbed(crew: Crew) -> Mapping[int, str]:
    crew.fill()
    code, line = said(crew.ask(_FIRST), _PATIENCE)
    run = crew.run_of(_FIRST)
    if code or run is None:
        raise NightFailed(day=f"{_FIRST}: {line}")
    return pictures(crew.stores, run)


def _end(
    crew: Crew, waiting: subprocess.Popen[str], day: date, gone: int, wanted: Mapping[int, str]
) -> Night:
    code, _ = said(waiting, _PATIENCE)
    run = crew.run_of(day)
    if run is None:
        return Night(code, gone, 0, len(wanted))
    facts, found = crew.facts(run), pictures(crew.stores, run)
    wrong = sum(found.get(leaf) != digest for leaf, digest in wanted.items())
    return Night(code, gone, facts.evaluations_done - facts.evaluations_planned, wrong)


def _forget(crew: Crew) -> None:
    with crew.stores.session() as session:
        session.execute(text("TRUNCATE catalogues CASCADE"))
    for key in list(crew.stores.bucket.list()):
        if not key.startswith("embeddings/"):
            crew.stores.bucket.delete(key)


@contextmanager
def _crew(lab: Lab) -> Iterator[Crew]:
    with (
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder).resolve(), gpus=0, patience=_READY, announce=lab.say) as stack,
        orchestrator.connected(stack.addresses),
    ):
        for pool in ("cpu", "gpu"):
            stack.services[f"worker-{pool}"].stop()
        file = stack.home / "catalogue.tsv"
        file.write_text("\n".join(["prompt", *make_texts()[:PROMPTS]]) + "\n")
        settings = read_settings(home=stack.home, device="cpu", **NIGHT)
        with open_stores(settings) as stores:
            crew = Crew(stack, stores, settings, file)
            try:
                yield crew
            finally:
                for worker in (each for there in crew.workers.values() for each in there):
                    for process in (worker, *worker.children(recursive=True)):
                        with suppress(psutil.NoSuchProcess):
                            process.kill()


def tell(found: list[Gone | Night]) -> Outcome:
    """Return what came of workers and nights as figures and tables."""
    workers = [each for each in found if isinstance(each, Gone)]
    nights = [each for each in found if isinstance(each, Night)]
    stopped = [each for each in workers if each.fault == "stopped"]
    lost = [each for each in workers if each.fault == "lost"]
    in_time = sum(each.code == 0 and each.seconds <= GRACE for each in stopped)
    taken = [each.taken for each in stopped if each.taken is not None]
    after = [each.taken for each in lost if each.taken is not None]
    figures = [
        Figure("workers that left with code 0 within 10 s of SIGTERM", in_time, ".0f",
               goal=Goal(least=len(stopped))),
        Figure("longest time until one had left", max(each.seconds for each in stopped), ".1f",
               "s", goal=Goal(most=GRACE)),
        Figure("longest time until another had its lease", max(taken), ".1f", "s",
               goal=Goal(most=TAKEN)),
        Figure("evaluations done twice", sum(each.doubled for each in nights), ".0f",
               goal=Goal(most=0)),
        Figure("wrong pictures", sum(each.wrong for each in nights), ".0f", goal=Goal(most=0)),
    ]  # fmt: skip
    if after:
        figures.append(
            Figure("longest time until another had the lease of a lost node", max(after), ".1f",
                   "s", goal=Goal(most=LEASE))
        )  # fmt: skip
    columns = (Column("pool"), Column("worker"), Column("code"), Column("gone after", ".2f"),
               Column("taken over after", ".2f"))  # fmt: skip
    rows = [(each.pool, each.fault, each.code, each.seconds, each.taken) for each in workers]
    return Outcome(
        figures=tuple(figures),
        tables=(Table("Workers", columns, rows),),
        notes=(
            f"Nights of {PROMPTS} pictures in one subtree, two workers in each pool; a worker that "
            "has a flow run is signalled at a random moment, the other one of its pool waits.",
            "A lost node is a worker killed with every process that it has started; its lease "
            f"lasts {LEASE:.0f} s.",
        ),
        data={"workers": [vars(each) for each in workers], "nights": [vars(n) for n in nights]},
    )
