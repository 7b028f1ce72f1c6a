"""Calibrated plans, beside our goals, and against trees like with like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.plan_alike import alike_table, find_alike, tell_alike
from benchmarks.paper.plan_verdicts import against_standards, against_trees, foretold
from hierdiff_core.evaluation.budgets import Ladder
from hierdiff_core.evaluation.page import Told
from hierdiff_core.evaluation.plan_ladder import plan_study
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections import plans
from hierdiff_core.evaluation.unit import Job


def jobs(study: PaperStudy) -> Sequence[Job]:
    """See Section."""
    return plans.jobs(_reported(study))


def tell(study: PaperStudy, results: Results) -> Told:
    """See Section."""
    study = _reported(study)
    alike = find_alike(plan_study(study), results) if study.calibrated else []

    def say(ladders: Sequence[Ladder]) -> list[str]:
        return [
            *against_trees(ladders),
            *tell_alike(alike),
            *against_standards(ladders),
            *foretold(ladders),
        ]

    told = plans.tell(study, results, say)
    return replace(told, tables=[*told.tables, alike_table(alike)]) if told.tables else told


def _reported(study: PaperStudy) -> PaperStudy:
    return replace(study, sets=study.report)
