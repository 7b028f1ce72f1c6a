"""Planning at scale: seconds and peak memory from vectors to a plan, and what two levels lose.

Knows made-up embeddings and how to measure in a process of its own: `python -m benchmarks.planning
CASE SIZE` measures one case and prints it as JSON. Knows nothing of sampling.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.lab import Lab
from benchmarks.machine import ROOT, commit
from benchmarks.outcome import Column, Figure, Goal, Outcome, Plot, Table
from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import EXACT, ClusterTree, build_tree
from hierdiff_core.digest import digest
from hierdiff_core.keys import segment_keys
from hierdiff_core.plan import make_plan
from hierdiff_core.schedule import evaluations, make_schedule, solve_tau
from hierdiff_core.shard import make_shards

TITLE = "Planning: seconds and memory from vectors to a stored plan"
DIMENSIONS, STEPS, SAVING, SHARDS = 1280, 40, 0.6, 16
SIZES = (2_000, 20_000, 100_000)
GOALS = {2_000: (1, 0.5), 20_000: (60, 4), 100_000: (900, 8)}  # seconds, GiB
LOSS_AT, LEVELS = 20_000, 5  # prompts, and how many of them there are to a twig
_PART = 2_000  # rows that are made at once

Vectors = npt.NDArray[np.float32]
Found = dict[str, Any]


def measure(lab: Lab) -> Outcome:
    """Measure each case in a fresh process; what was found at this commit is not repeated."""
    sizes = tuple(size // 100 for size in SIZES) if lab.quick else SIZES
    at = LOSS_AT // 100 if lab.quick else LOSS_AT
    plans = {size: _child(lab, "plan", size) for size in sizes}
    scipy = {size: _child(lab, "scipy", size) for size in sizes if size <= at}
    ledger = {size: _child(lab, "ledger", size) for size in sizes}
    losses = {name: _child(lab, f"loss-{name}", at) for name in KINDS}
    return _outcome(plans, scipy, ledger, losses)


def _child(lab: Lab, case: str, size: int) -> Found:
    kept = lab.folder("planning") / f"{case}-{size}-{commit()}.json"
    if not kept.exists() or commit().endswith("+"):
        words = [sys.executable, "-m", "benchmarks.planning", case, str(size)]
        said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        kept.write_text(said.stdout)
        lab.say(f"{case} {size}: {kept.read_text()[:200].strip()}")
    return dict(json.loads(kept.read_text().splitlines()[-1]))


def make_template(size: int) -> Vectors:
    """Return sums of six attributes (8 to 200 values each), a common part and noise."""
    rng = np.random.default_rng(0)
    common = 1.2 * rng.normal(size=DIMENSIONS)
    kinds = ((40, 1.0), (30, 0.8), (20, 0.6), (12, 0.5), (8, 0.4), (200, 0.3))
    tables = [weight * rng.normal(size=(values, DIMENSIONS)) for values, weight in kinds]

    def part(count: int) -> npt.NDArray[np.float64]:
        rows = common + 0.35 * rng.normal(size=(count, DIMENSIONS))
        for table in tables:
            rows += table[rng.integers(0, len(table), count)]
        return rows

    return _made(size, part)


def make_mixture(size: int) -> Vectors:
    """Return isotropic clusters of fifty prompts each, more or less."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(2, size // 50), DIMENSIONS))

    def part(count: int) -> npt.NDArray[np.float64]:
        noise = 0.7 * rng.normal(size=(count, DIMENSIONS))
        return np.asarray(centres[rng.integers(0, len(centres), count)] + noise)

    return _made(size, part)


KINDS: Mapping[str, Callable[[int], Vectors]] = {"template": make_template, "mixture": make_mixture}


def _made(size: int, part: Callable[[int], npt.NDArray[np.float64]]) -> Vectors:
    vectors = np.empty((size, DIMENSIONS), dtype=np.float32)
    for first in range(0, size, _PART):
        rows = part(min(_PART, size - first))
        vectors[first : first + _PART] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def plan_case(size: int) -> Found:
    """Time each step from vectors to shards, and the whole."""
    vectors = make_template(size)
    keys = [digest("prompt", row) for row in range(size)]
    laps = _Laps()
    tree = laps.time("tree", lambda: build_tree(vectors, "ward", keys))
    schedule = laps.time("budget", lambda: solve_tau(tree, STEPS, Budget(saving=SAVING)))
    plan = laps.time("plan", lambda: make_plan(tree, schedule))
    laps.time("keys", lambda: segment_keys(plan, keys, ["recipe"] * size))
    laps.time("shards", lambda: make_shards(plan, SHARDS))
    return laps.seconds | {"cpu": laps.cpu, "segments": len(plan.segments), "saving": plan.saving}


def scipy_case(size: int) -> Found:
    """Time SciPy's own: `linkage(pdist(vectors, "cosine"), "ward")`."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import pdist

    vectors = make_template(size).astype(np.float64)
    laps = _Laps()
    distances = laps.time("pdist", lambda: pdist(vectors, "cosine"))
    laps.time("linkage", lambda: hierarchy.linkage(distances, "ward"))
    return laps.seconds | {"cpu": laps.cpu}


def ledger_case(size: int) -> Found:
    """Time a plan and its embeddings into PostgreSQL and out again."""
    from benchmarks.planned import store_and_load

    laps = _Laps()
    store_and_load(size, DIMENSIONS, laps.time)
    return laps.seconds | {"cpu": laps.cpu}


def loss_case(kind: str, size: int) -> Found:
    """Compare the tree in two levels with the exact one, at equal tau and at equal budget."""
    vectors = KINDS[kind](size)
    keys = [digest("prompt", row) for row in range(size)]
    rows: list[list[object]] = []
    for linkage in ("ward", "average", "centroid"):
        whole, levels = (
            build_tree(vectors, linkage, keys, exact=most) for most in (size, size // LEVELS)
        )
        for saving in (0.3, 0.6, 0.8):
            schedule = solve_tau(whole, STEPS, Budget(saving=saving))
            saved = 1 - evaluations([levels], schedule) / (STEPS * size)
            own = solve_tau(levels, STEPS, Budget(saving=saving))
            deviations = [
                deviation(vectors, tree, budget.tau)
                for tree, budget in ((whole, schedule), (levels, own))
            ]
            rows.append([kind, linkage, saving, saving - saved, *deviations])
    return {"rows": rows}


def deviation(vectors: Vectors, tree: ClusterTree, tau: float) -> float:
    """Return the mean squared distance to the mean that is shared, over prompts and steps."""
    plan = make_plan(tree, make_schedule(STEPS, tau))
    total = 0.0
    for segment in plan.segments:
        if segment.size > 1:
            members = vectors[list(plan.members(segment))]
            mean = members.mean(axis=0)
            total += segment.steps * segment.size * (1 - float(mean @ mean))
    return total / (len(vectors) * STEPS)


class _Laps:
    """Seconds of each step by the clock, and of the processor in all."""

    def __init__(self) -> None:
        self.seconds: Found = {}
        self.cpu = 0.0

    def time(self, name: str, step: Callable[[], Any]) -> Any:
        """Return what a step returns and note what it took."""
        began, cpu = time.perf_counter(), time.process_time()
        result = step()
        self.seconds[name] = time.perf_counter() - began
        self.cpu += time.process_time() - cpu
        return result


CASES: Mapping[str, Callable[[int], Found]] = {
    "plan": plan_case,
    "scipy": scipy_case,
    "ledger": ledger_case,
    **{f"loss-{kind}": lambda size, kind=kind: loss_case(kind, size) for kind in KINDS},  # type: ignore[misc]
}


def _outcome(
    plans: Mapping[int, Found],
    scipy: Mapping[int, Found],
    ledger: Mapping[int, Found],
    losses: Mapping[str, Found],
) -> Outcome:
    figures = []
    for size, found in plans.items():
        seconds, memory = GOALS.get(size, (None, None))
        figures += [
            Figure(f"{size} prompts planned", _whole(found), ".1f", "s", goal=_most(seconds)),
            Figure(f"peak memory at {size}", found["peak"], ".2f", "GiB", goal=_most(memory)),
        ]
    rows = [row for found in losses.values() for row in found["rows"]]
    lost = max(row[3] for row in rows)
    figures.append(Figure("saving lost by two levels", 100 * lost, ".2f", "points", goal=_most(1)))
    exact = {size: found for size, found in plans.items() if size <= EXACT}
    figures.append(Figure("growth of seconds with N, exact trees", _growth(exact), ".2f"))
    lines = {"plan": [(size, _whole(found)) for size, found in plans.items()]}
    lines["SciPy's tree"] = [(size, _whole(found)) for size, found in scipy.items()]
    return Outcome(
        figures=tuple(figures),
        tables=(
            _steps_table("From vectors to a plan", plans),
            _steps_table("SciPy's pdist and linkage, exact, one thread", scipy),
            _steps_table("Into PostgreSQL and out", ledger),
            _loss_table(rows),
        ),
        plots=(Plot("Seconds against prompts", "prompts", "seconds", lines),),
        notes=_NOTES,
        data={"plan": _named(plans), "scipy": _named(scipy), "ledger": _named(ledger)},
    )


def _loss_table(rows: list[Any]) -> Table:
    columns = (
        Column("embeddings"),
        Column("linkage"),
        Column("saving, exact", ".0%"),
        Column("lost at equal tau", ".2%"),
        Column("deviation, exact", ".4f"),
        Column("deviation at equal saving, two levels", ".4f"),
    )
    return Table(f"Two levels, {LEVELS} prompts to a twig, against the exact tree", columns, rows)


def _steps_table(title: str, found: Mapping[int, Found]) -> Table:
    names = [name for name in next(iter(found.values())) if name not in ("saving", "segments")]
    columns = (Column("prompts"), *(Column(_TITLES.get(name, name), ".2f") for name in names))
    return Table(title, columns, [[size, *map(each.get, names)] for size, each in found.items()])


def _whole(found: Found) -> float:
    return sum(float(found[name]) for name in found if name not in _NO_STEPS)


def _growth(found: Mapping[int, Found]) -> float:
    sizes, seconds = np.log(list(found)), np.log([_whole(each) for each in found.values()])
    return float(np.polyfit(sizes, seconds, 1)[0]) if len(found) > 1 else float("nan")


def _most(value: float | None) -> Goal | None:
    return None if value is None else Goal(most=value)


def _named(found: Mapping[int, Found]) -> dict[str, Found]:
    return {str(size): each for size, each in found.items()}


_NO_STEPS = ("cpu", "peak", "segments", "saving")
_TITLES = {"cpu": "processor seconds", "peak": "peak memory, GiB"}
_NOTES = (
    f"{DIMENSIONS} dimensions, Ward, K = {STEPS}, a budget that spares {SAVING:.0%}, {SHARDS} "
    "shards. Each case ran in a process of its own; the peak is that of the whole process, its "
    "libraries and the vectors included. Columns are seconds by the clock.",
    f"Trees are exact up to {EXACT} prompts and in two levels above.",
    "Template embeddings are sums of six attributes and noise; mixtures are isotropic clusters.",
)


if __name__ == "__main__":
    measured = CASES[sys.argv[1]](int(sys.argv[2]))
    measured["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(measured))
