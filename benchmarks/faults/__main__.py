"""The command `python -m benchmarks.faults NAME --trials N`: print each trial and the sum."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.faults.two_workers import trials
from benchmarks.lab import Lab
from benchmarks.night import open_night
from flows.quiet import quiet_libraries

NIGHT = {"steps": 6, "saving": 0.4, "slots": 4, "solver": "ddpm", "options": {"prior_steps": 5}}


def main() -> int:
    """Run trials; return 1 where one is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("name", choices=["workers"])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    quiet_libraries()
    bad, seen = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab("faults", Path(folder), True, "cpu")
        with open_night(lab, 12, **NIGHT) as planned:
            for number, trial in enumerate(trials(planned, asked.trials, asked.seed), 1):
                bad += not trial.good
                seen.update(doubled=trial.doubled, undone=trial.undone, wrong=trial.wrong)
                print(f"{number:4}  {trial}", flush=True)
    print(f"{asked.trials} trials, {bad} bad: {dict(seen)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
