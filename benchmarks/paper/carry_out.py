"""Carrying out the paper's jobs: units by its own methods too, and looks inside a run."""

from __future__ import annotations

from benchmarks.paper.look_inside import Family, Watch, show_family, watch_run
from benchmarks.paper.methods import METHODS
from hierdiff_core.evaluation.unit import Outcome, Unit
from tasks.evaluation import carry_out as plain
from tasks.evaluation.carry_out import Report
from tasks.evaluation.panel import Panel
from tasks.evaluation.subject import Subject


def carry_out(
    job: Unit | Watch | Family, subject: Subject, panel: Panel, report: Report
) -> Outcome:
    """Return what comes of a job; embeddings of its texts must be there.

    Raises InvalidSetting for a budget that cannot be met.
    """
    if isinstance(job, Watch):
        return watch_run(job, subject, panel, report)
    if isinstance(job, Family):
        return show_family(job, subject, panel, report)
    return plain.carry_out(job, subject, panel, report, METHODS)
