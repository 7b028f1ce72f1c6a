"""Standard runs on held-out prompts, beside our goal for each attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.verdicts import attributes_right
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections import attributes
from hierdiff_core.evaluation.unit import Trial


def jobs(study: PaperStudy) -> Sequence[Trial]:
    """See Section."""
    return attributes.jobs(_reported(study))


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    report = attributes.report(_reported(study), results)
    figures: Any = report.figures
    for name, found in figures.items():
        rates = {attribute: each["value"] for attribute, each in found["right"].items()}
        return replace(report, sentences=[attributes_right(name, rates)]) if rates else report
    return report


def _reported(study: PaperStudy) -> PaperStudy:
    return replace(study, sets=study.report)
