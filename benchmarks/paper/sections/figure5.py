"""Figure 5 as the paper draws it: one solver, sharing by tau against fewer steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.prompt_sets import PaperSet
from hierdiff_core.evaluation.bootstrap import estimate_mean
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.grid import PAPER_METHOD
from hierdiff_core.evaluation.page import SectionReport, Table, number, score
from hierdiff_core.evaluation.plots import ALONE, SHARED, Line, PlotPanel, draw_panels
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, label, solver_label, standard
from hierdiff_core.evaluation.unit import Trial

_PREFERRED = "Prompt Template"


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    prompts = _set(study)
    settings = [*_alone(study), *_shared(study)]
    return [] if prompts is None else [study.unit(prompts, each) for each in settings]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    title = "Figure 5: fixed budgets"
    prompts = _set(study)
    if prompts is None:
        return SectionReport(title, ["There is no report set."])
    alone = results.all_measured(study, prompts, _alone(study))
    shared = results.all_measured(study, prompts, _shared(study))
    if not alone or not shared:
        return SectionReport(title, ["Not measured yet."])
    rows = [
        [label(each.setting), number(each.per_image, 2), score(estimate_mean(each.scores))]
        for each in sorted([*alone, *shared], key=lambda each: -each.per_image)
    ]
    caption = f"`{prompts.name}`, one solver throughout."
    table = Table(("setting", "evaluations per image", "mean score"), rows, caption)
    picture = partial(_draw, study, prompts, alone, shared)
    figures = {
        label(each.setting): [each.per_image, estimate_mean(each.scores).to_json()]
        for each in (*alone, *shared)
    }
    sentence = _compare(alone, shared)
    return SectionReport(
        title, [sentence], [table], {"figure5.png": picture}, {prompts.name: figures}
    )


def _set(study: PaperStudy) -> PaperSet | None:
    preferred = [each for each in study.report if each.paper == _PREFERRED]
    return next(iter([*preferred, *study.report]), None)


def _alone(study: PaperStudy) -> list[Setting]:
    steps = study.grid.standards.get(study.paper_solver, ())
    found = [standard(study.paper_solver, K) for K in steps]
    return list(dict.fromkeys([*found, study.reference]))


def _shared(study: PaperStudy) -> list[Setting]:
    solver, K = study.paper_solver, study.grid.paper_steps
    return [Setting(PAPER_METHOD, solver, K, tau=tau) for tau in study.grid.taus]


def _compare(alone: Sequence[Measured], shared: Sequence[Measured]) -> str:
    """Say at how many budgets sharing scores higher than fewer steps of the same cost or more."""
    judged = []
    for each in shared:
        rivals = [other for other in alone if other.per_image >= each.per_image]
        if rivals:
            nearest = min(rivals, key=lambda other: other.per_image)
            judged.append(each.mean >= nearest.mean)
    return (
        f"At {sum(judged)} of {len(judged)} values of tau, sharing scores at least as high as the "
        "next dearer standard run of the same solver (in the paper: at all of them)."
    )


def _draw(
    study: PaperStudy, prompts: PaperSet, alone: Sequence[Measured], shared: Sequence[Measured]
) -> bytes:
    solver = solver_label(study.paper_solver)
    reference = max(alone, key=lambda each: each.per_image)
    lines = [
        _line(f"{solver}, fewer steps", alone, ALONE[0], "x"),
        _line(
            f"{PAPER_METHOD}, tau 0 to {max(study.grid.taus):g}", [*shared, reference], SHARED[0]
        ),
    ]
    panel = PlotPanel(
        "Score: higher is better", "denoiser evaluations per image", "mean score", lines
    )
    heading = f"Fixed budgets: {prompts.name}, {solver} {study.grid.paper_steps}"
    return draw_panels(heading, [panel], "bands: 95 % intervals of the mean")


def _line(name: str, family: Sequence[Measured], colour: str, marker: str = "o") -> Line:
    family = sorted(family, key=lambda each: each.per_image)
    means = [estimate_mean(each.scores) for each in family]
    return Line(
        name,
        [each.per_image for each in family],
        [each.value for each in means],
        colour,
        [each.low for each in means],
        [each.high for each in means],
        marker,
    )
