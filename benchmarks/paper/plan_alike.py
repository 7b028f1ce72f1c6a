"""Calibrated plans against trees, like with like: the same solver, K and evaluations.

What is told comes from scores alone: what the plan brings by itself, whichever solver is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.page import Table, number
from hierdiff_core.evaluation.plan_ladder import plan_sets, spending
from hierdiff_core.evaluation.plan_words import signed
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import solver_label
from hierdiff_core.plan import CALIBRATED


@dataclass(frozen=True)
class Alike:
    """One set, solver and number of evaluations: a calibrated plan and the trees beside it."""

    name: str  # of the set
    evaluations: float  # per image
    calibrated: Measured
    trees: Mapping[str, Measured]  # by linkage

    def over(self, linkage: str) -> Estimate:
        """Return by how much the calibrated plan scores higher, paired by prompt."""
        return estimate_mean(self.calibrated.scores - self.trees[linkage].scores)


def find_alike(study: Study, results: Results) -> list[Alike]:
    """Return all that is measured of both."""
    found = []
    for prompts in plan_sets(study):
        for solver, steps in study.grid.tree_steps.items():
            for rung in study.grid.rungs:
                ways = {
                    each: results.measured(study, prompts, spending(each, solver, steps, rung))
                    for each in (CALIBRATED, *study.grid.linkages)
                }
                plan = ways.pop(CALIBRATED)
                trees = {each: tree for each, tree in ways.items() if tree is not None}
                if plan is not None and trees:
                    found.append(Alike(prompts.name, rung, plan, trees))
    return found


def tell_alike(found: Sequence[Alike]) -> list[str]:
    """Return, for each linkage, how often and by how much calibrated plans score higher."""
    linkages = dict.fromkeys(linkage for each in found for linkage in each.trees)
    said = []
    for linkage in linkages:
        gains = [each.over(linkage) for each in found if linkage in each.trees]
        higher = sum(gain.value >= 0 for gain in gains)
        above = sum(gain.low > 0 for gain in gains)
        below = sum(gain.high < 0 for gain in gains)
        mean = float(np.mean([gain.value for gain in gains]))
        said.append(
            f"Like with like, the same solver and K, against {linkage}: calibrated plans score at "
            f"least as high at {higher} of {len(gains)} numbers of evaluations, by {mean:+.3f} in "
            f"the mean; the interval lies above 0 at {above} of them and below at {below}."
        )
    return said


def alike_table(found: Sequence[Alike]) -> Table:
    """Return every comparison, with the gain over each linkage."""
    linkages = list(dict.fromkeys(linkage for each in found for linkage in each.trees))
    rows = [
        [
            each.name,
            _solver(each.calibrated),
            number(each.evaluations),
            number(each.calibrated.mean, 3),
            *(signed(each.over(one)) if one in each.trees else "–" for one in linkages),
        ]
        for each in found
    ]
    columns = (
        "set",
        "solver and K",
        "evaluations",
        "calibrated",
        *(f"over {one}" for one in linkages),
    )
    caption = "Like with like: calibrated plans against trees under the same solver and K"
    return Table(columns, rows, caption, folded=True)


def _solver(found: Measured) -> str:
    solver = found.setting.solver
    return f"{solver_label(solver)} {found.setting.steps}"
