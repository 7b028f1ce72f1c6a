"""Each side of models at their published sizes, in a process of its own: seconds and memory.

Knows processes and their own report (`one_side`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.lab import Lab
from benchmarks.machine import ROOT
from benchmarks.one_side import WORK
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from benchmarks.published import MODELS

TITLE = "Models at their published sizes: random weights, bfloat16 on a CPU"
_GB = 1e9

Report = Mapping[str, Any]
Found = Mapping[str, Mapping[str, Report]]


def measure(lab: Lab) -> Outcome:
    """Save each model, pin it, embed two prompts, denoise and resume; then remove it."""
    pixels, scale = (64, "small") if lab.quick else (256, "real")
    found: dict[str, dict[str, Report]] = {}
    sizes: dict[str, int] = {}
    for name in list(MODELS)[:1] if lab.quick else MODELS:
        with tempfile.TemporaryDirectory(prefix="model-", dir=lab.folder("published")) as folder:
            _run("benchmarks.published", name, folder, scale)
            files = Path(folder).rglob("*.safetensors")
            sizes[name], found[name] = sum(file.stat().st_size for file in files), {}
            lab.say(f"{name}: {sizes[name] / _GB:.1f} GB of weights are saved")
            for work in WORK:
                told = _run("benchmarks.one_side", work, folder, str(pixels))
                found[name][work] = json.loads(told.splitlines()[-1])
                lab.say(f"{name}, {work}: {found[name][work]}")
    return _outcome(found, sizes, pixels)


def _run(module: str, *words: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", module, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    return done.stdout


def _outcome(found: Found, sizes: Mapping[str, int], pixels: int) -> Outcome:
    resumed = sum(works["denoise"]["same"] for works in found.values())
    return Outcome(
        figures=(
            Figure(
                "times that weights are loaded by one process, at most",
                max(max(each["loads"].values(), default=0) for each in _reports(found)),
                "d",
                goal=Goal(least=1, most=1),
            ),
            Figure(
                "models that resume with the same bits",
                resumed,
                "d",
                goal=Goal(least=len(found), most=len(found)),
            ),
            Figure(
                "most memory of a process, in units of the weights that it loads",
                max(_memory(each) / each["weights"] for each in _reports(found) if each["loads"]),
                ".2f",
                goal=Goal(most=1.5),
            ),
        ),
        tables=(_table(found, sizes),),
        notes=(
            f"Two pictures of {pixels} x {pixels} pixels share the first of two steps of DDPM; "
            "then both are made again from the stored split. A step is one guided evaluation of "
            "one row. Sizes are those of the published configurations. `pin` reads every file; "
            "later processes trust its digests. Memory is the most that a process had, beyond its "
            "imports.",
        ),
        data={name: dict(works) for name, works in found.items()},
    )


def _reports(found: Found) -> list[Report]:
    return [report for works in found.values() for report in works.values()]


def _memory(report: Report) -> float:
    return float(report["peak"] - report["before"])


def _table(found: Found, sizes: Mapping[str, int]) -> Table:
    columns = (
        Column("model"),
        Column("GB of weights", ".2f"),
        Column("process"),
        Column("seconds to pin", ".1f"),
        Column("to load", ".1f"),
        Column("a step", ".1f"),
        Column("to decode", ".1f"),
        Column("parts loaded", "d"),
        Column("their GB", ".2f"),
        Column("GB of memory", ".2f"),
    )
    rows: list[tuple[Cell, ...]] = [
        (name, sizes[name] / _GB, work, each["pin"], each.get("load"), each.get("step"),
         each.get("decode"), sum(each["loads"].values()), each["weights"] / _GB,
         _memory(each) / _GB)
        for name, works in found.items()
        for work, each in works.items()
    ]  # fmt: skip
    return Table("Each side in a process of its own", columns, rows)
