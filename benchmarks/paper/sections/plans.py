"""Calibrated plans, beside our goals, and against trees like with like.

A goal that is not wholly measured is not hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.plan_alike import alike_table, find_alike, tell_alike
from benchmarks.paper.verdicts import with_goal
from hierdiff_core.evaluation import plan_words
from hierdiff_core.evaluation.budgets import Ladder
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.plan_ladder import plan_study
from hierdiff_core.evaluation.plan_words import Ranks
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections import plans
from hierdiff_core.evaluation.unit import Trial

SETS_AHEAD = 2  # on which the tightest budgets shall be won with intervals apart
MISFIT_RANK, SCORE_RANK, PLANS = 0.9, 0.8, 40


def jobs(study: PaperStudy) -> Sequence[Trial]:
    """See Section."""
    return plans.jobs(_reported(study))


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    study = _reported(study)
    alike = find_alike(plan_study(study), results) if study.calibrated else []

    def write(ladders: Sequence[Ladder]) -> list[str]:
        return [
            *_against_trees(ladders),
            *tell_alike(alike),
            *_against_standards(ladders),
            *_on_predictions(ladders),
        ]

    report = plans.report(study, results, write)
    return replace(report, tables=[*report.tables, alike_table(alike)]) if report.tables else report


def _reported(study: PaperStudy) -> PaperStudy:
    return replace(study, sets=study.report)


def _against_trees(ladders: Sequence[Ladder]) -> list[str]:
    """Return whether the chosen plans score at least as the trees, and more at tight budgets."""
    held, ahead, *more = plan_words.against_trees(ladders)
    enough = len(plan_words.sets_ahead(ladders)) >= SETS_AHEAD
    return [
        _all(held, plan_words.as_high_as_trees(ladders).whole),
        with_goal(ahead, f"{SETS_AHEAD} sets", enough),
        *more,
    ]


def _against_standards(ladders: Sequence[Ladder]) -> list[str]:
    """Return whether the chosen plans keep up with plain steps, and lead at tight budgets."""
    held, better, *saved = plan_words.against_standards(ladders)
    return [
        _all(held, plan_words.no_worse_than_steps(ladders).whole),
        _all(better, plan_words.better_than_steps(ladders).whole),
        *saved,
    ]


def _on_predictions(ladders: Sequence[Ladder]) -> list[str]:
    """Return whether predictions rank plans as measured misfit and score do."""
    compared, misfits, scores = plan_words.on_predictions(ladders)
    fewest = min(len(each.predictions) for each in ladders)
    return [
        with_goal(compared, f"{PLANS} on each set", fewest >= PLANS),
        _ranked(misfits, plan_words.misfit_ranks(ladders), MISFIT_RANK),
        _ranked(scores, plan_words.score_ranks(ladders), SCORE_RANK),
    ]


def _all(sentence: str, hit: bool) -> str:
    return with_goal(sentence, "all of them", hit)


def _ranked(sentence: str, found: Ranks, goal: float) -> str:
    if found.mean is None:
        return sentence
    whole = None not in found.by_set.values()
    return with_goal(sentence, f"{goal:g}", whole and found.mean >= goal)
