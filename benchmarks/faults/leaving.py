"""Workers that are asked to stop, or lost with all they started, while a night is made.

Two workers serve each pool. One that has a flow run is signalled at a random moment; the other one
of its pool is to take over, and a new one takes its place before the next signal.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta

import psutil

from benchmarks.errors import NightFailed
from benchmarks.faults.crew import ATTEMPTS, HELD, Crew, is_run, open_crew
from benchmarks.faults.full_stack import find_run_of, read_facts, said
from benchmarks.faults.two_workers import pictures
from benchmarks.lab import Lab
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table

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
_PATIENCE = 1800.0  # seconds that a night is given
_FIRST = date(2026, 2, 1)
_PAUSE = (0.5, 6.0)  # seconds between a worker being ready and the next signal, at random
_POOLS = ("gpu", "gpu", "cpu")  # in turns


@dataclass(frozen=True)
class Gone:
    """A worker that was signalled, and what came of it."""

    pool: str
    fault: str  # stopped, lost, or killed: its flow run alone
    code: int
    seconds: float  # until it was gone
    taken: float | None  # seconds until another one had its lease; None where nothing was left

    @property
    def good(self) -> bool:
        """Whether it went as it should, and another one took over in time."""
        taken = self.taken or 0.0
        if self.fault != "stopped":
            return taken <= LEASE
        return self.code == 0 and self.seconds <= GRACE and taken <= TAKEN


@dataclass(frozen=True)
class Night:
    """A night whose workers went, as it came out."""

    fault: str
    code: int  # of the waiting command
    workers: int
    doubled: int  # evaluations above those planned
    wrong: int  # pictures that are missing or whose bits are not the undisturbed night's


def stopped_workers(
    lab: Lab, count: int, seed: int, fault: str = "stopped"
) -> Iterator[Gone | Night]:
    """Yield each worker that went, and each night in which some did, until `count` have gone."""
    chance = random.Random(seed)
    with open_crew(lab, PROMPTS, NIGHT, apart=fault == "lost") as crew:
        wanted = _undisturbed(crew)
        gone, day = 0, _FIRST
        while gone < count:
            crew.forget()
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
            yield _end(crew, waiting, Night(fault, 0, mine, 0, len(wanted)), day, wanted)


def _signal(crew: Crew, pool: str, fault: str) -> Gone | None:
    worker = crew.busy(pool, 5.0)
    if worker is None:
        return None
    before = crew.count(ATTEMPTS[pool])
    number = signal.SIGTERM if fault == "stopped" else signal.SIGKILL
    began = time.monotonic()
    for each in _hit(worker, fault):
        with suppress(psutil.NoSuchProcess):
            os.kill(each.pid, number)
    seconds = code = taken = None
    until = began + 2 * LEASE
    if fault == "killed":
        code, seconds = 0, 0.0  # the worker stays
    while time.monotonic() < until and (code is None or taken is None):
        now = time.monotonic() - began
        if code is None and worker.poll() is not None:
            code, seconds = worker.returncode, now
        if taken is None and crew.count(ATTEMPTS[pool]) > before and crew.count(HELD[pool]):
            taken = now
        if taken is None and code is not None and _is_over(crew, pool):
            break
        time.sleep(0.02)
    else:
        seconds = until - began if seconds is None else seconds
        taken = until - began if taken is None else taken
    return Gone(pool, fault, -99 if code is None else code, seconds or 0.0, taken)


def _hit(worker: psutil.Process, fault: str) -> list[psutil.Process]:
    """Return the processes that a fault is about."""
    if fault == "killed":
        return [each for each in worker.children(recursive=True) if is_run(each)]
    return [worker, *worker.children(recursive=True)] if fault == "lost" else [worker]


def _is_over(crew: Crew, pool: str) -> bool:
    """Whether nothing is left to take over: the work had ended before the signal came."""
    query = {
        "gpu": "SELECT count(*) FROM subtrees WHERE state <> 'completed'",
        "cpu": "SELECT count(*) FROM batches b LEFT JOIN runs r ON r.batch_id = b.id"
        " WHERE r.state IS DISTINCT FROM 'completed'",
    }
    return crew.count(query[pool]) == 0


def _undisturbed(crew: Crew) -> Mapping[int, str]:
    crew.fill()
    code, line = said(crew.ask(_FIRST), _PATIENCE)
    run = find_run_of(crew.stores, _FIRST)
    if code or run is None:
        raise NightFailed(day=f"{_FIRST}: {line}")
    return pictures(crew.stores, run)


def _end(
    crew: Crew, waiting: subprocess.Popen[str], night: Night, day: date, wanted: Mapping[int, str]
) -> Night:
    code, _ = said(waiting, _PATIENCE)
    run = find_run_of(crew.stores, day)
    if run is None:
        return replace(night, code=code)
    facts, found = read_facts(crew.stores, run), pictures(crew.stores, run)
    wrong = sum(found.get(leaf) != digest for leaf, digest in wanted.items())
    doubled = facts.evaluations_done - facts.evaluations_planned
    return replace(night, code=code, doubled=doubled, wrong=wrong)


def _figures_of_stops(stopped: list[Gone], nights: list[Night]) -> list[Figure]:
    in_time = sum(each.code == 0 and each.seconds <= GRACE for each in stopped)
    taken = [each.taken for each in stopped if each.taken is not None]
    return [
        Figure("workers that left with code 0 within 10 s of SIGTERM", in_time, ".0f",
               goal=Goal(least=len(stopped))),
        Figure("longest time until one had left", max(each.seconds for each in stopped), ".1f",
               "s", goal=Goal(most=GRACE)),
        Figure("longest time until another had its lease", max(taken), ".1f", "s",
               goal=Goal(most=TAKEN)),
        Figure("evaluations done twice", sum(each.doubled for each in nights), ".0f",
               goal=Goal(most=0)),
    ]  # fmt: skip


def tell(found: list[Gone | Night]) -> Outcome:
    """Return what came of workers and nights as figures and tables."""
    workers = [each for each in found if isinstance(each, Gone)]
    nights = [each for each in found if isinstance(each, Night)]
    figures = _figures_of_stops(
        [each for each in workers if each.fault == "stopped"],
        [each for each in nights if each.fault == "stopped"],
    )
    figures.append(
        Figure("wrong pictures", sum(each.wrong for each in nights), ".0f", goal=Goal(most=0))
    )
    for fault, name in (("lost", "a node that was lost"), ("killed", "a flow run that was killed")):
        after = [each.taken or 0.0 for each in workers if each.fault == fault]
        if after:
            figure = f"longest time until another had the lease of {name}"
            figures.append(Figure(figure, max(after), ".1f", "s", goal=Goal(most=LEASE)))
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
            "lasts 45 s.",
        ),
        data={"workers": [vars(each) for each in workers], "nights": [vars(n) for n in nights]},
    )
