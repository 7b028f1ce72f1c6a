"""The command `python -m benchmarks [NAME ...]`: measure, write JSON, write the page.

Knows the command line and which results are still good. What is measured is each benchmark's own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from benchmarks import ORDER
from benchmarks.errors import UnknownBenchmark
from benchmarks.lab import Lab
from benchmarks.machine import ROOT, Machine, commit, describe
from benchmarks.outcome import Outcome
from benchmarks.page import write_page
from benchmarks.plots import draw_plots
from flows.quiet import quiet_libraries
from hierdiff_core.errors import HierdiffError
from hierdiff_core.whole_file import write_whole

RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "benchmarks"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for and return 0, or 1 where a benchmark refused to give a figure."""
    asked = _parser().parse_args(words)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    default = WORK / "quick" if asked.quick else RESULTS
    results: Path = asked.results or default
    results.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in _names(asked.names):
        if not asked.force and _is_current(results / f"{name}.json", asked.quick):
            print(f"{name:>12}  measured at this commit already; --force repeats it")
            continue
        try:
            _run(name, asked, results)
        except HierdiffError as error:
            print(f"{name:>12}  {error}", file=sys.stderr)
            failed += 1
    print(write_page(results))
    return 1 if failed else 0


def _names(asked: Sequence[str]) -> Sequence[str]:
    for name in asked:
        if name not in ORDER:
            raise UnknownBenchmark(name=name, known=", ".join(ORDER))
    return asked or ORDER


def _is_current(file: Path, quick: bool) -> bool:
    """Tell whether a result was measured with the code as it is now, and no less thoroughly."""
    if not file.exists():
        return False
    stored, now = json.loads(file.read_text()), commit()
    same = stored["machine"]["commit"] == now and not now.endswith("+")
    return bool(now) and same and (quick or not stored["quick"])


def _run(name: str, asked: argparse.Namespace, results: Path) -> None:
    module = import_module(f"benchmarks.{name}")
    lab = Lab(name, asked.work, asked.quick, asked.device)
    machine = describe()  # first: the commit is that of the code that runs
    store_outcome(results, lab, module.TITLE, machine, module.measure(lab))


def store_outcome(results: Path, lab: Lab, title: str, machine: Machine, outcome: Outcome) -> None:
    """Write what a benchmark found, and its plots, to a folder."""
    stored = {
        "benchmark": lab.name,
        "title": title,
        "quick": lab.quick,
        "machine": machine.to_json(),
        "seconds": round(time.perf_counter() - lab.began, 1),
        "outcome": outcome.to_json(),
    }
    file = results / f"{lab.name}.json"
    write_whole(file, (json.dumps(stored, indent=1) + "\n").encode())
    draw_plots(results, lab.name, outcome)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ORDER)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the code run?")
    parser.add_argument("--results", type=Path, help="folder of the JSON files and the page")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of what is kept between")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="that torch computes with")
    parser.add_argument(
        "--force",
        action="store_true",
        default=os.environ.get("FORCE") == "1",
        help="measure again what was measured at this commit (or FORCE=1)",
    )
    return parser


if __name__ == "__main__":
    quiet_libraries()
    try:
        sys.exit(main())
    except HierdiffError as error:
        sys.exit(f"benchmarks: {error}")
