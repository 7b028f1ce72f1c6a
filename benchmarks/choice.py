"""How well a solver and K are chosen by prediction, and how well they could be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.lab import Lab
from benchmarks.machine import ROOT
from benchmarks.outcome import Cell, Column, Figure, Goal, Outcome, Table
from hierdiff_core.calibrated.choice import small_excess

TITLE = "Choosing a solver and K for a budget"
EVALUATION = ROOT / "benchmarks" / "results" / "evaluation.json"
_LABEL = re.compile(r"(?:(\w+), )?(\S+) (\d+)(?:, .*)?")
_HALVES = np.geomspace(0.5, 100, 60)  # excess at which the law halves a prediction
_TOLERANCE = 0.02  # share by which a plan may miss its budget
_GOAL = 14  # of 16


@dataclass(frozen=True)
class Judged:
    """A judged plan of a set."""

    way: str  # solver and K
    evaluations: float  # per image
    plain: float  # predicted misfit of plain pictures made that way
    predicted: float  # misfit
    misfit: float
    plain_misfit: float
    score: float

    @property
    def excess(self) -> float:
        """What sharing is predicted to add to the misfit."""
        return max(0.0, self.predicted - self.plain)


@dataclass(frozen=True)
class Budget:
    """One budget of one set: the plans that spend it, and the score of the best tree."""

    set: str
    share: str  # of the best standard setting's evaluations
    plans: Sequence[Judged]
    tree: float

    def gain(self, by: Callable[[Judged], float]) -> float:
        """Return by how much the plan of the least value scores higher than the best tree."""
        return min(self.plans, key=by).score - self.tree


def measure(lab: Lab) -> Outcome:
    """Read the plans that the evaluation has judged, and choose among them in several ways."""
    stored = {
        name: found
        for name, found in json.loads(EVALUATION.read_text())["plans"].items()
        if name != "sentences"
    }
    plans = {name: _read_plans(found["plans"]) for name, found in stored.items()}
    budgets = [each for name in stored for each in _budgets(name, stored[name], plans[name])]
    halves = {name: _fit([p for n, found in plans.items() if n != name for p in found])
              for name in plans}  # fmt: skip
    lab.say(f"{len(budgets)} budgets of {len(plans)} sets")
    ways: dict[str, Callable[[str], Callable[[Judged], float]]] = {
        "the least sum of plain misfit and predicted excess": lambda _: lambda plan: plan.predicted,
        "the least misfit as `hierdiff tune` predicts it": lambda _: (
            lambda plan: plan.plain + small_excess(plan.excess, plan.plain)
        ),
        "the same by a law that is fitted on the other sets": lambda name: (
            lambda plan: plan.plain + _law(plan.excess, halves[name])
        ),
        "the least measured misfit": lambda _: lambda plan: plan.misfit,
        "the highest score": lambda _: lambda plan: -plan.score,
    }
    gains = {way: [each.gain(by(each.set)) for each in budgets] for way, by in ways.items()}
    return _tell(budgets, gains, halves)


def _read_plans(stored: Sequence[Mapping[str, Any]]) -> list[Judged]:
    """Return the calibrated plans of a set, each beside plain pictures made the same way."""
    read = [(_LABEL.fullmatch(each["label"]), each) for each in stored]
    plain = {(m[2], m[3]): each for m, each in read if m and m[1] is None}
    return [
        Judged(f"{m[2]} {m[3]}", each["evaluations_per_image"], plain[m[2], m[3]]["predicted"],
               each["predicted"], each["misfit"], plain[m[2], m[3]]["misfit"], each["score"])
        for m, each in read
        if m and m[1] == "calibrated"
    ]  # fmt: skip


def _budgets(name: str, stored: Mapping[str, Any], plans: Sequence[Judged]) -> list[Budget]:
    found = []
    for share, evaluations in stored["budgets"].items():
        rung = stored["rungs"][f"{evaluations:g}"]
        able = [
            each
            for each in plans
            if abs(each.evaluations - evaluations) <= _TOLERANCE * evaluations
        ]
        trees = [rung[each]["score"]["value"] for each in ("ward", "average", "centroid")]
        found.append(Budget(name, share, able, max(trees)))
    return found


def _law(excess: float, half: float) -> float:
    """Return what a predicted excess comes to: hardly anything where small, itself where large."""
    return excess * excess / (excess + half)


def _fit(plans: Sequence[Judged]) -> float:
    """Return the excess that the law halves, by least squares over measured misfits."""
    errors = [
        sum((_law(each.excess, half) - (each.misfit - each.plain_misfit)) ** 2 for each in plans)
        for half in _HALVES
    ]
    return float(_HALVES[int(np.argmin(errors))])


def _tell(
    budgets: Sequence[Budget], gains: Mapping[str, Sequence[float]], halves: Mapping[str, float]
) -> Outcome:
    figures = [
        Figure(f"budgets at which {way} is at least the best tree", float(_at_least(each)), ".0f",
               f"of {len(budgets)}", goal=Goal(least=_GOAL) if at == 1 else None)
        for at, (way, each) in enumerate(gains.items())
    ]  # fmt: skip
    columns = (Column("set"), Column("budget"), Column("best tree", ".3f"),
               *(Column(way, "+.3f") for way in gains))  # fmt: skip
    rows: list[list[Cell]] = [
        [each.set, f"{float(each.share):.0%}", each.tree, *(found[at] for found in gains.values())]
        for at, each in enumerate(budgets)
    ]
    table = Table("Score of the chosen plan less that of the best tree", columns, rows)
    fitted = ", ".join(f"{name} {half:.1f}" for name, half in halves.items())
    return Outcome(tuple(figures), (table,), notes=(*_NOTES, f"Halved on the others: {fitted}."))


def _at_least(gains: Sequence[float]) -> int:
    return sum(each >= -1e-9 for each in gains)


_NOTES = (
    "Nothing is measured here: these are the calibrated plans that `python -m benchmarks.paper` "
    "has judged, under DDIM and DPM-Solver++ at several K. The best tree is the best in hindsight "
    "of three linkages and two solvers. A budget is a share of the best standard setting's "
    "evaluations; where it is beyond the largest measured one, that stands for it.",
    "A predicted excess e comes to e^2 / (e + h), with h a quarter of what plain pictures miss "
    "where `hierdiff tune` chooses; that share was found on these sets. Beside it h is fitted for "
    "each set on the three others, so that none chooses for itself. The last two ways know what no "
    "prediction can: they are what a perfect prediction of misfit, and of the score, would reach.",
)
