"""Calibrated plans at scale: seconds, peak memory, and what planning in regions loses.

Knows made-up embeddings and a made-up calibration of the usual shape: `python -m
benchmarks.calibrated SIZE EXACT` measures one case in a process of its own and prints it as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.lab import Lab
from benchmarks.machine import ROOT
from benchmarks.outcome import Column, Figure, Goal, Outcome, Table
from benchmarks.planning import Vectors, make_template
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.plans import plan_points, predicted_excess
from hierdiff_core.clustering.tree import EXACT
from hierdiff_core.digest import digest
from hierdiff_core.noise_levels import landing_levels

TITLE = "Calibrated plans: seconds and memory, whole and in regions"
SIZES = (2_000, 20_000, 100_000)
LOSS_AT, REGIONS_ABOVE = 20_000, 5_000  # prompts; planned as one, and in regions
SECONDS = {20_000: 120}
PER_IMAGE, RANK = 3.2, 64
LEVELS = np.array([12.5, 6.6, 3.8, 2.3, 1.4, 0.87, 0.47, 0.04])  # sigma before each of 8 steps
SHARES = np.array([0, 0, 0.01, 0.03, 0.06, 0.11, 0.22, 0.75])  # settled before each of them

Found = dict[str, Any]


def measure(lab: Lab) -> Outcome:
    """Measure each case in a fresh process."""
    scale = 100 if lab.quick else 1
    cases = [(size // scale, EXACT // scale) for size in SIZES]
    cases.append((LOSS_AT // scale, REGIONS_ABOVE // scale))
    found = [_child(lab, size, exact) for size, exact in cases]
    whole, parts = found[SIZES.index(LOSS_AT)], found[-1]
    lost = parts["excess"] / whole["excess"] - 1
    figures = [
        Figure(f"{each['size']} prompts planned", each["seconds"], ".1f", "s", goal=_goal(each))
        for each in found[:-1]
    ]
    figures.append(Figure("excess added by regions", 100 * lost, ".2f", "%"))
    columns = (
        Column("prompts"),
        Column("as one up to"),
        Column("seconds", ".1f"),
        Column("processor seconds", ".1f"),
        Column("peak memory, GiB", ".2f"),
        Column("predicted excess", ".4f"),
    )
    names = ("size", "exact", "seconds", "cpu", "peak", "excess")
    table = Table("From vectors to a plan", columns, [[*map(each.get, names)] for each in found])
    return Outcome(tuple(figures), (table,), notes=_NOTES)


def _goal(found: Found) -> Goal | None:
    most = SECONDS.get(found["size"])
    return None if most is None else Goal(most=most)


def _child(lab: Lab, size: int, exact: int) -> Found:
    words = [sys.executable, "-m", "benchmarks.calibrated", str(size), str(exact)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    lab.say(said.strip())
    return dict(json.loads(said.splitlines()[-1]))


def plan_case(size: int, exact: int) -> Found:
    """Time a plan of so many prompts."""
    vectors = make_template(size)
    keys = [digest("prompt", row) for row in range(size)]
    calibration = make_calibration(vectors)
    began, cpu = time.perf_counter(), time.process_time()
    points = calibration.points(vectors, LEVELS)
    plan = plan_points([points], int(PER_IMAGE * size), [keys], exact)[0].plan
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "size": size,
        "exact": exact,
        "seconds": seconds,
        "cpu": cpu,
        "excess": predicted_excess(plan, points),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def make_calibration(vectors: Vectors) -> Calibration:
    """Return maps in which directions settle early or late by chance, each level its own way."""
    rng = np.random.default_rng(0)
    sample = vectors[rng.permutation(len(vectors))[:200]].astype(np.float64)
    axes = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)[2]
    basis = axes[: min(RANK, len(axes))].T
    settled = [np.zeros((basis.shape[1], basis.shape[1]))]
    for added in np.diff(SHARES):
        turned = np.linalg.qr(rng.normal(size=settled[0].shape))[0]
        weights = rng.gamma(0.5, 2, basis.shape[1]) * added
        settled.append(settled[-1] + (turned * weights) @ turned.T)
    levels = np.append(LEVELS[0], landing_levels(LEVELS)[1:])
    return Calibration(levels, basis, np.stack(settled), SHARES, {8: 30.0}, {})


_NOTES = (
    f"{len(LEVELS)} steps, {PER_IMAGE} evaluations per image, template embeddings of 1280 "
    f"dimensions, a calibration of rank {RANK}. Each case ran in a process of its own; the peak is "
    "that of the whole process.",
    f"Up to {EXACT} prompts are planned as one, more in regions that share no step with each "
    f"other; the last line plans {LOSS_AT} in regions, to see what that adds.",
)


if __name__ == "__main__":
    print(json.dumps(plan_case(int(sys.argv[1]), int(sys.argv[2]))))
