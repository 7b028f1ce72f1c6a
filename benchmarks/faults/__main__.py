"""The command `python -m benchmarks.faults NAME --trials N`: print each trial and the sum."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.__main__ import RESULTS, store_outcome
from benchmarks.faults.collecting import KilledCollection, killed_collections
from benchmarks.faults.kills import KilledNight, killed_nights, undisturbed_nights
from benchmarks.faults.leaving import TITLE as LEAVING
from benchmarks.faults.leaving import Gone, Night, stopped_workers
from benchmarks.faults.leaving import tell as tell_leaving
from benchmarks.faults.results import KilledQuery, killed_queries
from benchmarks.faults.services import TITLE, Served, served_nights, tell
from benchmarks.faults.two_workers import TwoWorkers, trials
from benchmarks.lab import Lab
from benchmarks.machine import describe
from benchmarks.night import open_night
from benchmarks.page import write_page
from flows.quiet import quiet_libraries

NIGHT = {
    "steps": 6,
    "saving": 0.4,
    "accept_loss": True,
    "slots": 4,
    "solver": "ddpm",
    "options": {"prior_steps": 5},
}


def main() -> int:
    """Run trials; return 1 where one is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument(
        "name", choices=["workers", "kills", "remakes", "gc", "results", "services", "leaving"]
    )
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="services: faults whose name holds this")
    parser.add_argument("--lost", type=int, default=0, help="leaving: nodes that are lost as well")
    parser.add_argument("--killed", type=int, default=0, help="leaving: flow runs that are killed")
    asked = parser.parse_args()
    quiet_libraries()
    if asked.name == "services":
        return _services(asked.only)
    if asked.name == "leaving":
        return _leaving(asked)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab("faults", Path(folder), True, "cpu")
        for number, trial in enumerate(_trials(lab, asked.name, asked.trials, asked.seed), 1):
            bad += not trial.good
            print(f"{number:4}  {trial}", flush=True)
    print(f"{asked.trials} trials, {bad} bad")
    return 1 if bad else 0


def _services(only: str) -> int:
    """Let each service fail under a night; write what came of it, if no fault was left out."""
    machine, found = describe(), list[Served]()  # first: the commit is that of the code that runs
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab("services", Path(folder), device="cpu")
        for night in served_nights(lab, only):
            found.append(night)
            print(f"{'good' if night.good else 'BAD '}  {night}", flush=True)
        if not only:
            store_outcome(RESULTS, lab, TITLE, machine, tell(found))
            print(write_page(RESULTS))
    return 0 if all(each.good for each in found) else 1


def _leaving(asked: argparse.Namespace) -> int:
    """Signal workers under nights; write what came of it."""
    machine, found = describe(), list[Gone | Night]()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab("leaving", Path(folder), device="cpu")
        counts = {"stopped": asked.trials, "lost": asked.lost, "killed": asked.killed}
        for fault, count in counts.items():
            for each in stopped_workers(lab, count, asked.seed, fault) if count else ():
                found.append(each)
                print(each, flush=True)
        outcome = tell_leaving(found)
        store_outcome(RESULTS, lab, LEAVING, machine, outcome)
        print(write_page(RESULTS))
    return 0 if all(figure.hit for figure in outcome.figures) else 1


def _trials(
    lab: Lab, name: str, count: int, seed: int
) -> Iterator[TwoWorkers | KilledNight | KilledCollection | KilledQuery]:
    if name == "results":
        yield from killed_queries(lab, count, seed)
        return
    if name == "gc":
        with undisturbed_nights(lab, NIGHT) as nights:
            yield from killed_collections(nights[-1], count, seed)
        return
    if name in ("kills", "remakes"):
        yield from killed_nights(lab, count, seed, NIGHT, remakes=name == "remakes")
        return
    with open_night(lab, 12, **NIGHT) as planned:
        yield from trials(planned, count, seed)


if __name__ == "__main__":
    sys.exit(main())
