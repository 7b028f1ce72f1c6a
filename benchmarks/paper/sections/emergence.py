"""The emergence of detail: how good the predicted picture is after each step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.look_inside import Watch
from benchmarks.paper.verdicts import few_steps
from hierdiff_core.evaluation.page import SectionReport, Table, number
from hierdiff_core.evaluation.plots import ALONE, SHARED, Line, PlotPanel, draw_panels
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import solver_label
from hierdiff_core.evaluation.unit import Outcome, Trial
from hierdiff_core.judges.frechet import frechet_distance


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    watch = watch_of(study)
    return [] if watch is None else [watch]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    title = "How detail emerges"
    watch = watch_of(study)
    found = None if watch is None else results.whole(watch)
    if watch is None or found is None:
        return SectionReport(title, ["Not measured yet."])
    scores = mean_scores(found)
    detail = _details(found)
    marks = sorted({1, watch.steps, *range(watch.steps // 8, watch.steps, watch.steps // 8 or 1)})
    rows = [
        [str(at), f"{scores[at - 1]:.3f}", number(detail[at - 1] if detail else None, 2)]
        for at in marks
        if at
    ]
    caption = (
        "Predicted x_0 of a standard run after each step: mean score, and Fréchet distance to the "
        "same run's final pictures."
    )
    table = Table(("step", "mean score of x_0", "distance to the end"), rows, caption)
    figures = {"score": scores, "distance": detail}
    return SectionReport(
        title,
        [few_steps(scores, watch.steps)],
        [table],
        {"emergence.png": partial(_draw, watch, scores, detail)},
        figures,
    )


def watch_of(study: PaperStudy) -> Watch | None:
    """Return the standard run that is looked at: the reference on the first report set."""
    prompts: PromptSet | None = next(iter(study.report), None)
    if prompts is None:
        return None
    places = study.sample(prompts)[: study.grid.emergence]
    texts = tuple(prompts.entries[place].text for place in places)
    return Watch(texts, study.paper_solver, study.grid.paper_steps)


def mean_scores(found: Outcome) -> list[float]:
    """Return the mean score of the picture predicted after each of the K steps."""
    scores = found.main.reshape(int(found.facts["steps"]), -1).mean(axis=1)
    return [float(each) for each in scores]


def _details(found: Outcome) -> list[float]:
    """Return the distance of each step's predictions to the last step's, features in the mean."""
    if found.features is None:
        return []
    steps = found.features.reshape(int(found.facts["steps"]), -1, found.features.shape[1])
    few = steps.shape[1] < 2
    return [] if few else [frechet_distance(each, steps[-1]) for each in steps]


def _draw(watch: Watch, scores: Sequence[float], detail: Sequence[float]) -> bytes:
    xs = list(range(1, watch.steps + 1))
    across = f"steps taken, of {watch.steps}"
    panels = [PlotPanel("Score of the predicted picture", across, "mean score",
                    [Line("", xs, scores, SHARED[0], marker="")])]  # fmt: skip
    if detail:
        line = Line("", xs, detail, ALONE[0], marker="")
        panels.append(
            PlotPanel("Distance to the final pictures", across, "Fréchet distance", [line])
        )
    solver = solver_label(watch.solver)
    return draw_panels(f"How detail emerges: {solver} {watch.steps}, nothing shared", panels)
