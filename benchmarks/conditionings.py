"""What embeddings of FLUX's real size take: bytes in both stores, and memory of each process.

Knows processes and their own report (`large_embeddings`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.large_embeddings import PHASES, POOLED
from benchmarks.machine import ROOT
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from flows.stack.standalone import standalone

TITLE = "Embeddings of FLUX's width: 512 x 4,096 tokens and 768 pooled numbers"
WANTED = 2000  # prompts that figures are told for
_GB, _MB = 1e9, 1e6

Report = Mapping[str, float]


def measure(lab: Lab) -> Outcome:
    """Run each phase in a process of its own, at two numbers of prompts."""
    counts, tokens, width = ((8,), 16, 64) if lab.quick else ((32, 128), 512, 4096)
    found: dict[int, dict[str, Report]] = {}
    for count in counts:
        with (
            tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
            standalone(Path(folder), stores_only=True, announce=lambda line: None) as stack,
        ):
            found[count] = {}
            for phase in PHASES:
                found[count][phase] = _run(stack.home, phase, count, tokens, width)
                lab.say(f"{count} prompts, {phase}: {found[count][phase]}")
    return _outcome(found, (tokens * width + POOLED) * 4)


def _run(home: Path, phase: str, *sizes: int) -> Report:
    command = [sys.executable, "-m", "benchmarks.large_embeddings", phase, *map(str, sizes)]
    told = {**os.environ, "HIERDIFF_HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _outcome(found: Mapping[int, Mapping[str, Report]], whole: int) -> Outcome:
    most = max(found)
    kept = found[most]["embed"]
    rows = [
        (phase, count, each["seconds"], each["before"] / _MB, each["peak"] / _MB)
        for phase in PHASES
        for count in sorted(found)
        for each in [found[count][phase]]
    ]
    columns = (
        Column("phase"),
        Column("prompts", ",d"),
        Column("seconds", ".1f"),
        Column("MB before", ",.0f"),
        Column("MB at most", ",.0f"),
    )
    scale = WANTED / most
    return Outcome(
        figures=(
            Figure("ledger at 2,000 prompts", kept["ledger"] * scale / _GB, ".3f", "GB",
                   goal=Goal(most=0.1)),
            Figure("object store at 2,000 prompts", kept["bucket"] * scale / _GB, ".2f", "GB"),
            Figure("the same as float32", whole * WANTED / _GB, ".2f", "GB"),
            Figure("most memory of a process, beyond what its imports take",
                   max(row[4] - row[3] for row in rows) / 1e3, ".2f", "GB"),
        ),
        tables=(Table("Each phase in a process of its own", columns, rows),),
        notes=(
            f"Measured at {most} prompts; bytes at 2,000 are in proportion. The encoder is a "
            "stand-in that draws bfloat16 numbers. Planning reads vectors alone; steering makes "
            "the means of all clusters of a plan that saves half, in 16 slots: "
            f"{found[most]['steer']['read']:,.0f} embeddings were read for "
            f"{found[most]['steer']['segments']:,.0f} segments.",
        ),
        data={str(count): dict(each) for count, each in found.items()},
    )  # fmt: skip
