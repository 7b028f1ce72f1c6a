"""Seconds from the start of a process to its first evaluation: by itself, and as a worker's runs.

Knows processes and their own reports (`first_call`, `warm_call`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.first_call import SLOTS
from benchmarks.lab import Lab
from benchmarks.machine import ROOT
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from benchmarks.pairs import Spread
from benchmarks.real_size import SHRUNK, Scale, make_networks
from benchmarks.warm_call import GIVEN
from flows.warm.fork_server import ForkServer, Needed
from hierdiff_core import miniature
from hierdiff_core.models.folder import read_number
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.recipe import Recipe

TITLE = "Cold start: from a worker's process to its first evaluation"
LAST = "first evaluation"
# The real decoder's shape at two thirds of its width.
TWO_GIGABYTES = Scale((256, 512, 768, 1024), 3, 64, 512, 0, 64, (64, 128), 1024)


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
    forked = _fork_runs(lab)
    for run in forked:
        lab.say(f"forked: {run}")
    first, *later = (run["denoiser"] for run in forked)
    second = Spread(tuple(later))
    # A holder reads what it holds once; a run that was not forked from one reads for itself.
    loads = len({run["parent"] for run in forked}) + sum(int(run["reads"]) for run in forked)
    return Outcome(
        figures=(
            Figure("process start to first evaluation", whole.median, ".2f", "s",
                   low=whole.low, high=whole.high),
            Figure("first run of a worker (2 GB), until its first evaluation begins", first,
                   ".2f", "s"),
            Figure("its later runs", second.median, ".2f", "s", low=second.low,
                   high=second.high, goal=Goal(most=1.0)),
            Figure(f"times that its weights were read for {len(forked)} runs", loads, ".0f",
                   goal=Goal(most=1)),
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
            "A worker's runs are forked by its fork server, which has imported everything; the "
            "model is Kandinsky's decoder with random weights in single precision, called for one "
            "row of 64 x 64 pixels on a CPU. What Prefect and the ledger add is not in it.",
        ),
        data={"runs": runs, "forked": forked},
    )  # fmt: skip


def _fork_runs(lab: Lab) -> list[dict[str, float]]:
    """Have a worker's fork server start runs of one model, one after the other."""
    # A fork server does not import from where it stands.
    with patch.dict(os.environ, PYTHONPATH=str(ROOT)), tempfile.TemporaryDirectory() as folder:
        recipe = _save_model(Path(folder), SHRUNK if lab.quick else TWO_GIGABYTES)
        given = {"recipe": recipe.to_json(), "digests": f"{folder}/digests.json"}
        fork_server = ForkServer()
        try:
            fork_server.start()
            _wait_for(fork_server)
            return [_fork_run(fork_server, given) for _ in range(3 if lab.quick else 6)]
        finally:
            fork_server.close()


def _wait_for(fork_server: ForkServer) -> None:
    """Return when a fork server has imported everything: it then carries a run out."""
    command = [*fork_server.command(os.environ)[:-1], "this"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def _fork_run(fork_server: ForkServer, given: Mapping[str, object]) -> dict[str, float]:
    call = json.dumps({"recipe": given["recipe"], "clock": time.time()})
    command = fork_server.command(os.environ, Needed("flows.warm.weights:hold_weights", given))
    done = subprocess.run(
        [*command[:-1], "benchmarks.warm_call"],
        env={**os.environ, GIVEN: call},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _save_model(folder: Path, scale: Scale) -> Recipe:
    """Save a decoder with random weights; return its recipe, with the miniature's prior."""
    width = read_number(miniature.PRIOR_MODEL, "prior", "embedding_dim")
    scale = replace(scale, width=width)
    make_networks(scale, torch.device("cpu"), torch.float32).save_pretrained(folder / "model")
    options = {"prior": miniature.PRIOR_MODEL}
    size = {"height": scale.pixels, "width": scale.pixels}
    return pin_recipe(make_recipe(str(folder / "model"), options, **size), folder / "digests.json")


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
