"""Nights of a set at several savings: each row's loss as predicted, and its picture as judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.calibrated.calibrated_solver import calibrate_solver
from hierdiff_core.calibrated.plans import leaf_excess, plan_within
from hierdiff_core.evaluation.methods import PromptGroup, make_setting_plan
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.setting import STANDARD, Setting
from hierdiff_core.evaluation.unit import Outcome as Judged
from hierdiff_core.evaluation.unit import Unit, make_unit
from hierdiff_core.plan import CALIBRATED
from hierdiff_core.planners import LOSS
from tasks.evaluation.carry_out import noise_key
from tasks.evaluation.crew import Bench, find_missing, make_all
from tasks.evaluation.subject import embed_texts

Numbers = NDArray[np.float64]

PLAIN, DEFAULT = "plain", "default"


@dataclass(frozen=True)
class Case:
    """A set whose nights are planned and judged."""

    prompts: PromptSet
    kind: str  # development: from which defaults are chosen; report; shop
    places: tuple[int, ...]  # of the rows that are judged


@dataclass(frozen=True)
class Row:
    """The nights of a set at one saving: predicted and judged, (P,) over the judged rows."""

    saving: float
    loss: Numbers  # predicted
    score: Numbers
    wrong: NDArray[np.bool_]  # whether something that the prompt names is not in the picture


class Planning:
    """The plans of a set under the recipe's own solver and number of steps."""

    def __init__(self, bench: Bench, prompts: PromptSet) -> None:
        subject, recipe = bench.subject, bench.recipe
        self.bench, self.texts = bench, prompts.texts
        calibration = subject.calibration(recipe.solver)
        if calibration is None:
            raise LookupError(recipe.solver)
        self.missed = calibration.misfit(recipe.steps)
        vectors = subject.vectors(self.texts)
        self.group = PromptGroup(vectors, [noise_key(text) for text in self.texts])
        solver = calibrate_solver(calibration, subject.schedule, recipe.solver, recipe.steps)
        self.points = solver.points(vectors)

    def within(self, loss: float) -> float:
        """Return the saving of the night that keeps a bound of the loss."""
        excess = loss * self.missed * len(self.texts)
        (tree,) = plan_within([self.points], excess, [self.group.keys])
        return tree.plan.saving

    def losses(self, setting: Setting) -> Numbers:
        """Return the predicted loss of each row, (N,)."""
        plan = make_setting_plan([self.group], setting, self.bench.subject.methods)
        return leaf_excess(plan, self.points) / self.missed


def setting_of(bench: Bench, saving: float | None) -> Setting:
    """Return a night's setting; None: nothing is shared."""
    solver, steps = bench.recipe.solver, bench.recipe.steps
    if saving is None:
        return Setting(STANDARD, solver, steps)
    return Setting(CALIBRATED, solver, steps, saving=saving)


def judge(bench: Bench, case: Case, savings: Sequence[float], workers: int) -> dict[str, Row]:
    """Return the judged rows of a case by night: plain, the default one, and each saving."""
    embed_texts(bench.subject, case.prompts.texts)
    planning = Planning(bench, case.prompts)
    nights: dict[str, float | None] = {PLAIN: None, DEFAULT: planning.within(LOSS)}
    nights |= {f"{each:.0%}": each for each in savings}
    units = {
        name: make_unit(case.prompts.texts, case.places, setting_of(bench, saving))
        for name, saving in nights.items()
    }
    found = _judge_all(bench, list(units.values()), workers)
    rows = {}
    for name, unit in units.items():
        if unit in found:  # a set may be too small for a saving
            shares = unit.setting.shares
            losses = planning.losses(unit.setting)[list(case.places)] if shares else None
            rows[name] = _row(nights[name] or 0.0, losses, found[unit])
    return rows


def _row(saving: float, losses: Numbers | None, judged: Judged) -> Row:
    wrong = (np.stack(list(judged.right.values())) == 0).any(axis=0)
    return Row(saving, np.zeros(len(wrong)) if losses is None else losses, judged.main, wrong)


def _judge_all(bench: Bench, units: Sequence[Unit], workers: int) -> Mapping[Unit, Judged]:
    keys = bench.keys(units, bench.fingerprint("a red mug"))
    missing = find_missing(bench.folder, keys)
    for _ in make_all(bench, {job: keys[job] for job in missing}, workers):
        pass
    found = {unit: bench.folder.load(keys[unit]) for unit in units}
    return {unit: outcome for unit, outcome in found.items() if outcome is not None}
