"""Figure 2: from coarse to fine, latents and predicted pictures along a standard run."""

from __future__ import annotations

from functools import partial

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.look_inside import FRAMES, Watch
from benchmarks.paper.sections.emergence import jobs, watch_of
from benchmarks.paper.sheets import draw_sheet
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import solver_label
from hierdiff_core.evaluation.unit import Outcome

__all__ = ["jobs", "report"]  # the run that is looked at is that of `emergence`


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    title = "Figure 2: from coarse to fine"
    watch = watch_of(study)
    found = None if watch is None else results.whole(watch)
    if watch is None or found is None:
        return SectionReport(title, ["Not made yet."])
    kept = ", ".join(f"“{text}”" for text in watch.texts[: watch.kept])
    return SectionReport(
        title, [f"Prompts: {kept}."], [], {"strips.png": partial(_draw, watch, found)}
    )


def _draw(watch: Watch, found: Outcome) -> bytes:
    rows = [
        (
            "latents" if at % 2 == 0 else "predicted",
            list(found.pictures[at * FRAMES : (at + 1) * FRAMES]),
        )
        for at in range(len(found.pictures) // FRAMES)
    ]
    columns = [f"step {each}" for each in watch.frames()]
    solver = solver_label(watch.solver)
    return draw_sheet(f"From coarse to fine: {solver} {watch.steps}", rows, columns)
