"""Seconds from the start of a worker's process to its first evaluation, stage by stage.

Knows processes and their own report (`first_call`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.first_call import SLOTS
from benchmarks.lab import Lab
from benchmarks.machine import ROOT
from benchmarks.outcome import Column, Figure, Outcome, Table
from benchmarks.pairs import Spread

TITLE = "Cold start: from a worker's process to its first evaluation"
LAST = "first evaluation"


def measure(lab: Lab) -> Outcome:
    """Start a process several times; the first one warms the page cache and is not counted."""
    runs = [_start()] if lab.quick else [_start() for _ in range(6)][1:]
    for run in runs:
        lab.say(", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in run.items()))
    stages = list(runs[0])
    counted = stages[: stages.index(LAST) + 1]
    whole = Spread(tuple(sum(run[stage] for stage in counted) for run in runs))
    spreads = {stage: Spread(tuple(run[stage] for run in runs)) for stage in stages}
    rows = [
        (stage, each.median, each.low, each.high, each.median / whole.median)
        for stage, each in spreads.items()
        if stage in counted
    ]
    after = spreads[stages[-1]].median
    return Outcome(
        figures=(
            Figure("process start to first evaluation", whole.median, ".2f", "s",
                   low=whole.low, high=whole.high),
        ),
        tables=(
            Table("Stage by stage", (Column("stage"), Column("seconds", ".2f"),
                  Column("least", ".2f"), Column("greatest", ".2f"), Column("share", ".0%")),
                  rows),
        ),
        notes=(
            f"The shipped models, {SLOTS} slots, medians of {len(runs)} processes; files are in "
            "the page cache. Stages are taken in this order, so a library that two of them need "
            f"counts for the first. An evaluation after the first takes {after * 1e3:.0f} ms.",
        ),
        data={"runs": runs},
    )  # fmt: skip


def _start() -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.first_call", str(time.time())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
