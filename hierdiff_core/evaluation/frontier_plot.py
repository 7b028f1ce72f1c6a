"""The frontier of one set as a plot: score and detail against evaluations per image."""

from __future__ import annotations

from collections.abc import Callable

from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.plots import ALONE, SHARED, Level, Line, PlotPanel, draw_panels
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, solver_label

TICKS = (2, 3, 4, 6, 8, 12, 20, 40)
ACROSS = "denoiser evaluations per image"
_MARKERS = {"ward": "o", "average": "s", "centroid": "^"}
Value = Callable[[Setting], tuple[float, float] | None]  # (evaluations, value)


def draw_frontier(study: Study, results: Results, prompts: PromptSet) -> bytes:
    """Return the plot as PNG."""

    def score(setting: Setting) -> tuple[float, float] | None:
        found = results.measured(study, prompts, setting)
        return (found.per_image, found.mean) if found else None

    def detail(setting: Setting) -> tuple[float, float] | None:
        found = results.measured(study, prompts, setting)
        value = results.detail(study, prompts, setting)
        return (found.per_image, value) if found and value is not None else None

    key = [(_MARKERS.get(each, "D"), f"{each} linkage") for each in study.grid.linkages]
    panels = [
        PlotPanel(
            "Score: higher is better",
            ACROSS,
            "mean score",
            _lines(study, prompts, score),
            logarithmic=True,
            key=key,
            ticks=TICKS,
        )
    ]
    lines = _lines(study, prompts, detail)
    if any(len(line.xs) for line in lines):
        floor = results.floor(prompts)
        levels = [] if floor is None else [Level("drawings themselves", floor)]
        panels.append(
            PlotPanel("Detail: lower is better", ACROSS, "Fréchet distance", lines, levels, True,
                  (), TICKS)
        )  # fmt: skip
    scored = len(study.sample(prompts))
    heading = f"{prompts.name}: {prompts.title}"
    note = f"{len(prompts):,} prompts, {scored:,} of them judged; greys: every prompt alone"
    return draw_panels(heading, panels, note)


def _lines(study: Study, prompts: PromptSet, value: Value) -> list[Line]:
    lines = []
    for at, solver in enumerate(study.solvers):
        ladder = [each for each in study.standards() if each.solver == solver]
        name = f"{solver_label(solver)} alone"
        lines.append(_line(name, ladder, ALONE[at % len(ALONE)], value, "x"))
    groups = dict.fromkeys((each.solver, each.steps) for each in study.sharing(prompts))
    for at, (solver, steps) in enumerate(groups):
        colour = SHARED[at % len(SHARED)]
        for method in study.grid.linkages:
            ladder = [
                each for each in study.sharing(prompts)
                if (each.method, each.solver, each.steps) == (method, solver, steps)
            ]  # fmt: skip
            first = method == study.grid.linkages[0]
            name = f"{solver_label(solver)} {steps} shared" if first else ""
            marker = _MARKERS.get(method, "D")
            lines.append(_line(name, ladder, colour, value, marker, thin=not first))
    return [line for line in lines if line.xs]


def _line(
    name: str, ladder: list[Setting], colour: str, value: Value, marker: str, thin: bool = False
) -> Line:
    points = [point for each in ladder if (point := value(each)) is not None]
    return Line(
        name, [x for x, _ in points], [y for _, y in points], colour, marker=marker, thin=thin
    )
