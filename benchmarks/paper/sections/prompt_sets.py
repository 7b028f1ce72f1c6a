"""The prompt sets: what each is there for, and the paper's set that it stands for."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper.grid import PaperStudy
from hierdiff_core.evaluation.page import SectionReport, Table, percent
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.unit import Trial


def jobs(study: PaperStudy) -> Sequence[Trial]:
    """See Section."""
    return []


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    rows = [
        [each.name, each.purpose, each.paper or "–", percent(each.paper_saving)]
        for each in study.sets
    ]
    columns = ("set", "purpose", "stands for", "the paper saves")
    said = "Defaults are chosen on development sets only."
    figures = {each.name: {"purpose": each.purpose} for each in study.sets}
    return SectionReport("What the sets stand for", [said], [Table(columns, rows)], figures=figures)
