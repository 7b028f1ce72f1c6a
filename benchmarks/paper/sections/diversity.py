"""Diversity at the paper's savings, beside what the paper reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.paper.grid import PaperStudy
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections import diversity
from hierdiff_core.evaluation.unit import Trial

_PAPER = {
    "GenAI-Bench": "0.608 → 0.603",
    "Prompt Template": "0.651 → 0.649",
    "Style Variations": "0.807 → 0.837",
    "Animals": "0.665 → 0.655",
}


def jobs(study: PaperStudy) -> Sequence[Trial]:
    """See Section."""
    return diversity.jobs(replace(study, sets=study.report))


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    report = diversity.report(replace(study, sets=study.report), results)
    table = report.tables[0]
    papers = [_PAPER.get(each.paper, "–") for each in study.report]
    rows = [[*row, paper] for row, paper in zip(table.rows, papers, strict=True)]
    return replace(report, tables=[replace(table, columns=(*table.columns, "paper"), rows=rows)])
