"""Services that fail under a night: each row one fault, and what the night has come to."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client

from benchmarks.errors import NightFailed
from benchmarks.faults.full_stack import (
    CATALOGUE,
    Place,
    fill,
    find_run_of,
    full_stack,
    read_facts,
    said,
)
from benchmarks.faults.two_workers import pictures
from benchmarks.lab import Lab
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from flows.stack.services import Service
from flows.starts import DEPLOYMENT, NightStart

TITLE = "Nights whose services fail, and what they have come to"
PROMPTS = 48
NIGHT = {
    "steps": 20,
    "saving": 0.4,
    "accept_loss": True,
    "shards": 1,
    "solver": "ddpm",
    "options": {"prior_steps": 5},
}
SECONDS = 30.0  # that a fault lasts
_PATIENCE = 1800.0  # seconds that a night is given
_FIRST = date(2026, 1, 1)
_SHARE = 0.2  # of a night's evaluations, after which a fault begins

Mend = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """What is done to a night's services."""

    strike: Callable[[Place], Mend]  # returns what ends it
    lasts: float | None = SECONDS  # None: from before the night until after it
    twice: bool = False  # the night is started as a schedule does, two times at once


@dataclass(frozen=True)
class Served:
    """What a night with a fault has come to."""

    fault: str
    code: int  # of the waiting command
    retried: bool  # by `hierdiff retry`, once the fault had ended
    doubled: int  # evaluations above those planned
    wrong: int  # pictures that are missing or whose bits are not the undisturbed night's
    left: str  # behind: leases, rows, objects, flow runs
    seconds: float
    line: str = ""  # that the command refused with

    @property
    def good(self) -> bool:
        """Whether it ended complete, by itself or by a retry, and left nothing behind."""
        return not self.wrong and not self.left and self.code == (1 if self.retried else 0)


def _restart(place: Place) -> Mend:
    postgres = place.stack.services["postgres"]
    postgres.stop()
    return lambda: _start(postgres)


def _kill(name: str) -> Callable[[Place], Mend]:
    def strike(place: Place) -> Mend:
        service = place.stack.services[name]
        service.kill()
        return lambda: _start(service)

    return strike


def _hold(place: Place) -> Mend:
    postgres = psutil.Process(place.stack.services["postgres"].pid)
    held = [postgres, *postgres.children(recursive=True)]
    for process in held:
        process.suspend()
    return lambda: [process.resume() for process in held if process.is_running()]


def _start(service: Service) -> None:
    service.start()
    service.await_ready(300.0)


def _cut(name: str) -> Callable[[Place], Mend]:
    def strike(place: Place) -> Mend:
        line = {"ledger": place.ledger, "prefect": place.prefect}[name]
        line.cut()
        return line.mend

    return strike


def _objects(fault: str) -> Callable[[Place], Mend]:
    def strike(place: Place) -> Mend:
        place.objects.fault = fault
        return lambda: setattr(place.objects, "fault", "")

    return strike


def _fill(place: Place) -> Mend:
    if place.disk is None:
        return _objects("full")(place)
    return partial(fill(place.disk).unlink, missing_ok=True)  # mended once more after the night


def _nothing(place: Place) -> Mend:
    return lambda: None


FAULTS: Mapping[str, Fault] = {
    "PostgreSQL restarted": Fault(_restart, 0.0),
    "PostgreSQL killed": Fault(_kill("postgres"), 2.0),
    "PostgreSQL held 30 s": Fault(_hold),
    "Prefect server killed for 15 s": Fault(_kill("prefect"), 15.0),
    "S3 refuses 20 % of calls": Fault(_objects("refusing 20 %"), None),
    "S3 refuses all for 30 s": Fault(_objects("refusing all")),
    "S3 hangs for 30 s": Fault(_objects("hanging")),
    "S3 cuts bodies": Fault(_objects("cutting bodies"), None),
    "S3 redirects for 30 s": Fault(_objects("redirecting")),
    "S3 has a full disk for 30 s": Fault(_fill),
    "workers cut off from PostgreSQL for 30 s": Fault(_cut("ledger")),
    "workers cut off from S3 for 30 s": Fault(_objects("cut off")),
    "workers cut off from Prefect for 30 s": Fault(_cut("prefect")),
    "schedule fired twice": Fault(_nothing, 0.0, twice=True),
}


def served_nights(lab: Lab, only: str = "") -> Iterator[Served]:
    """Yield what a night has come to under each fault whose name holds `only`."""
    with full_stack(lab, PROMPTS, NIGHT) as place:
        wanted = _undisturbed(place)
        for number, (name, fault) in enumerate(FAULTS.items(), 1):
            if only in name:
                place.forget()
                lab.say(name)
                yield _served(place, name, fault, _FIRST + timedelta(days=number), wanted)


def _undisturbed(place: Place) -> Mapping[int, str]:
    code, line = said(_run(place, _FIRST), _PATIENCE)
    run = find_run_of(place.stores, _FIRST)
    if code or run is None:
        raise NightFailed(day=f"{_FIRST}: {line}")
    return pictures(place.stores, run)


def _served(place: Place, name: str, fault: Fault, day: date, wanted: Mapping[int, str]) -> Served:
    began = time.monotonic()
    mend = fault.strike(place) if fault.lasts is None else None
    wait = _fire_twice(place, day) if fault.twice else _waiting(place, day)
    if mend is None:
        place.await_work(day, _SHARE)
        mend = fault.strike(place)
        time.sleep(fault.lasts or 0.0)
        mend()
    code, line = wait()
    mend()
    run = find_run_of(place.stores, day)
    if run is None:
        return Served(name, code, False, 0, len(wanted), "", time.monotonic() - began, line)
    retried = code != 0
    if retried:
        said(place.start("retry", str(run)), _PATIENCE)
    facts, found = read_facts(place.stores, run), pictures(place.stores, run)
    doubled = facts.evaluations_done - facts.evaluations_planned
    wrong = sum(found.get(leaf) != digest for leaf, digest in wanted.items())
    seconds = time.monotonic() - began
    return Served(name, code, retried, doubled, wrong, place.left_behind(run), seconds, line)


def _run(place: Place, day: date) -> subprocess.Popen[str]:
    return place.start("run", CATALOGUE, "--file", str(place.file), "--date", day.isoformat())


def _waiting(place: Place, day: date) -> Callable[[], tuple[int, str]]:
    command = _run(place, day)
    return lambda: said(command, _PATIENCE)


def _fire_twice(place: Place, day: date) -> Callable[[], tuple[int, str]]:
    """Start a night two times, as a schedule that fires twice; 0 is for one that is complete."""
    night = place.settings.night.model_copy(update={"source_file": place.file})
    start = NightStart(CATALOGUE, day, night)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        fired = [
            client.create_flow_run_from_deployment(deployment.id, parameters=start.parameters).id
            for _ in range(2)
        ]
    return lambda: _ends(fired)


def _ends(flow_runs: list[UUID]) -> tuple[int, str]:
    until = time.monotonic() + _PATIENCE
    with get_client(sync_client=True) as client:
        while time.monotonic() < until:
            states = [client.read_flow_run(each).state for each in flow_runs]
            kinds = sorted(each.type.value for each in states if each is not None)
            if all(each is not None and each.is_final() for each in states):
                return int("COMPLETED" not in kinds or "FAILED" in kinds), ", ".join(kinds)
            time.sleep(1.0)
    return -9, "did not end"


def tell(found: list[Served]) -> Outcome:
    """Return what nights have come to as figures and a table."""
    columns = ("fault", "code", "retried", "evaluations done twice", "wrong pictures", "left")
    rows = [
        (each.fault, each.code, "yes" if each.retried else "no", each.doubled, each.wrong,
         each.left or "nothing")
        for each in found
    ]  # fmt: skip
    good, every = sum(each.good for each in found), len(FAULTS)
    return Outcome(
        figures=(
            Figure("faults after which a night is as the undisturbed one", good, ".0f",
                   goal=Goal(least=every)),
            Figure("of them without a retry", sum(not each.retried for each in found), ".0f"),
            Figure("evaluations done twice, all faults", sum(each.doubled for each in found),
                   ".0f"),
        ),
        tables=(Table("Nights under faults", tuple(map(Column, columns)), rows),),
        notes=(
            f"Each night of {PROMPTS} pictures starts from an empty ledger and bucket; a fault "
            f"begins after {_SHARE:.0%} of its evaluations.",
            "The code is that of the waiting `hierdiff run`: the night's own.",
        ),
        data={"nights": [vars(each) for each in found]},
    )  # fmt: skip
