"""The frontier, beside what the paper saves and our goal against the best standard setting."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.verdicts import over_best, over_reference
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections import frontier
from hierdiff_core.evaluation.sections.frontier import Frontier
from hierdiff_core.evaluation.unit import Trial


def jobs(study: PaperStudy) -> Sequence[Trial]:
    """See Section."""
    own = [study.unit(prompts, each) for prompts in study.sets
           for each in study.papers_own(prompts)]  # fmt: skip
    return [*frontier.jobs(study), *own]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""

    def write(found: Frontier) -> list[str]:
        own = results.all_measured(study, found.prompts, study.papers_own(found.prompts))
        reference, best = frontier.sentences(found)
        return [over_reference(reference, found, next(iter(own), None)), over_best(best, found)]

    return frontier.report(study, results, write)
