"""Calibrated plans and their rivals on a set: the settings that are measured, and their results.

`budgets` defines a rung.
"""

from __future__ import annotations

from dataclasses import replace

from hierdiff_core.evaluation.budgets import (
    JudgedPrediction,
    Ladder,
    Rung,
    best_affordable,
    choose_plan,
)
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.plan import CALIBRATED

LARGE = 500  # prompts of a set on which plans are compared
_MOST_SAVED = 0.9  # largest saving of a plan; beyond, almost no step is left to separate prompts
_FACTS = ("predicted", "misfit")  # of outcomes that were measured with a calibration


def plan_study(study: Study) -> Study:
    """Return the study with the samples on which plans are compared, larger than the others.

    Plans differ little, and a rival that is the best of several is favoured by every error.
    """
    return replace(study, grid=replace(study.grid, sample=study.grid.plan_sample))


def plan_sets(study: Study) -> list[PromptSet]:
    """Return the sets on which plans are compared: the large ones."""
    # A grid that cuts sets short is for trials: there, shorter sets count as large.
    least = min(LARGE, study.grid.largest or LARGE)
    return [each for each in study.sets if len(each) >= least]


def plan_settings(study: Study) -> list[Setting]:
    """Return calibrated plans and trees at every rung, and the standard settings."""
    found = study.standards()
    for rung in study.grid.rungs:
        found += _calibrated_at(study, rung)
        for linkage in study.grid.linkages:
            found += _trees_at(study, rung, linkage)
    return list(dict.fromkeys(found))


def _calibrated_at(study: Study, rung: float) -> list[Setting]:
    """Return the plans among which one is chosen at a rung."""
    found = [
        spending(CALIBRATED, solver, steps, rung)
        for solver, K in study.grid.plan_steps.items()
        for steps in K
        if solver in study.solvers and steps > rung
    ]
    return [each for each in found if (each.saving or 0) < _MOST_SAVED]


def _trees_at(study: Study, rung: float, linkage: str) -> list[Setting]:
    return [
        spending(linkage, solver, steps, rung)
        for solver, steps in study.grid.tree_steps.items()
        if solver in study.solvers and steps > rung
    ]


def spending(method: str, solver: str, steps: int, evaluations: float) -> Setting:
    """Return the setting that takes this many evaluations per image."""
    return Setting(method, solver, steps, saving=round(1 - evaluations / steps, 6))


def read_ladder(study: Study, results: Results, prompts: PromptSet) -> Ladder | None:
    """Return the ladder of a set, None where no standard setting is measured."""
    standards = results.all_measured(study, prompts, study.standards())
    if not standards:
        return None
    rungs = [_rung(study, results, prompts, standards, each) for each in study.grid.rungs]
    predictions = _predictions(study, results, prompts, plan_settings(study))
    return Ladder(prompts, standards, [each for each in rungs if each is not None], predictions)


def _rung(
    study: Study, results: Results, prompts: PromptSet, standards: list[Measured], rung: float
) -> Rung | None:
    """Return a rung, None where no calibrated plan or no tree is measured at it."""
    plans = _predictions(study, results, prompts, _calibrated_at(study, rung))
    chosen = choose_plan(plans)
    trees = {
        linkage: max(found, key=lambda each: each.mean)
        for linkage in study.grid.linkages
        if (found := results.all_measured(study, prompts, _trees_at(study, rung, linkage)))
    }
    if chosen is None or not trees:
        return None
    hindsight = max((each.measured for each in plans), key=lambda each: each.mean)
    return Rung(rung, chosen.measured, hindsight, trees, best_affordable(standards, rung))


def _predictions(
    study: Study, results: Results, prompts: PromptSet, settings: list[Setting]
) -> list[JudgedPrediction]:
    """Return the complete settings with a prediction."""
    predictions = []
    for setting in settings:
        outcome = results.whole(study.unit(prompts, setting))
        measured = results.measured(study, prompts, setting)
        if outcome is not None and measured is not None and {*_FACTS} <= outcome.facts.keys():
            predictions.append(
                JudgedPrediction(measured, *(outcome.facts[each] for each in _FACTS))
            )
    return predictions
