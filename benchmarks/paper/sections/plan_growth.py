"""How the gain of calibrated plans over the paper's trees grows with the number of prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.paper.grid import PaperStudy
from benchmarks.paper.sections.growth import (
    largest_set,
    sizes_within,
    unit_alone,
    unit_among,
)
from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.page import SectionReport, Table, score
from hierdiff_core.evaluation.plan_ladder import spending
from hierdiff_core.evaluation.plan_words import signed
from hierdiff_core.evaluation.plots import BLIND, SHARED, Level, PlotPanel, band, draw_panels
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections.plans import UNCALIBRATED
from hierdiff_core.evaluation.setting import Setting, label, standard
from hierdiff_core.evaluation.unit import Trial, Unit
from hierdiff_core.plan import CALIBRATED

TITLE = "Calibrated plans against the paper's trees, by the number of prompts"
RIVALS = ("ward", "average")
_COLOURS = {CALIBRATED: SHARED[0], "ward": BLIND, "average": "#d0a020"}
_MARKERS = {CALIBRATED: "o", "ward": "s", "average": "^"}
Curves = Mapping[int, Mapping[str, Measured]]  # by N and method


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    prompts = largest_set(study)
    if prompts is None or not _applies(study):
        return []
    shared = [
        unit_among(study, prompts, size, setting)
        for size in sizes_within(study, prompts)
        for setting in _settings(study).values()
    ]
    return [*_alone(study, prompts), *shared]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    prompts = largest_set(study)
    if not study.calibrated:
        return SectionReport(TITLE, [UNCALIBRATED])
    curves = _curves(study, results, prompts) if prompts is not None and _applies(study) else {}
    if prompts is None or not curves:
        return SectionReport(TITLE, ["Not measured yet."])
    alone = [found for unit in _alone(study, prompts) if (found := results.measured_unit(unit))]
    spent = _spent(study)
    caption = f"The same prompts of `{prompts.name}` among N of its prompts, {spent}."
    methods = (CALIBRATED, *RIVALS)
    columns = ("N", *methods, *(f"{CALIBRATED} – {each}" for each in RIVALS))
    rows = [_row(size, found) for size, found in curves.items()]
    sentences = [
        _sentence(each, gains, spent) for each in RIVALS if (gains := _gains(curves, each))
    ]
    return SectionReport(
        TITLE,
        sentences,
        [Table(columns, rows, caption)],
        {"plan-growth.png": partial(_draw, prompts.name, spent, curves, alone)},
        {str(size): _figures(found) for size, found in curves.items()},
    )


def _applies(study: PaperStudy) -> bool:
    return study.calibrated and study.fast in study.grid.tree_steps


def _settings(study: PaperStudy) -> dict[str, Setting]:
    solver, rung = study.fast, study.grid.growth_rung
    steps = study.grid.tree_steps[solver]
    return {each: spending(each, solver, steps, rung) for each in (CALIBRATED, *RIVALS)}


def _alone(study: PaperStudy, prompts: PromptSet) -> list[Unit]:
    """Return what the prompts come to alone: with all steps, and with as few as they cost here."""
    few = max(1, math.floor(study.grid.growth_rung))
    steps = (study.grid.tree_steps[study.fast], few)
    return [unit_alone(study, prompts, each) for each in steps]


def _spent(study: PaperStudy) -> str:
    name = label(standard(study.fast, study.grid.tree_steps[study.fast]))
    return f"{study.grid.growth_rung:g} evaluations per image of {name}"


def _curves(study: PaperStudy, results: Results, prompts: PromptSet) -> Curves:
    """Return, by N, the methods that are complete; N at which calibrated plans are not is left."""
    found = {}
    for size in sizes_within(study, prompts):
        units = {
            name: unit_among(study, prompts, size, setting)
            for name, setting in _settings(study).items()
        }
        measured = {name: results.measured_unit(unit) for name, unit in units.items()}
        whole = {name: each for name, each in measured.items() if each is not None}
        if CALIBRATED in whole:
            found[size] = whole
    return found


def _gains(curves: Curves, rival: str) -> list[tuple[float, Estimate]]:
    """Return, by N, by how much calibrated plans score higher than a tree."""
    return [(size, _gain(found, rival)) for size, found in curves.items() if rival in found]


def _gain(found: Mapping[str, Measured], rival: str) -> Estimate:
    return estimate_mean(found[CALIBRATED].scores - found[rival].scores)


def _sentence(rival: str, gains: Sequence[tuple[float, Estimate]], spent: str) -> str:
    (fewest, first), (most, last) = gains[0], gains[-1]
    ahead = sum(each.low > 0 for _, each in gains)
    behind = sum(each.high < 0 for _, each in gains)
    return (
        f"Against {rival} at {spent}, calibrated plans score {signed(first)} at N = {fewest:,} and "
        f"{signed(last)} at N = {most:,}; of {len(gains)} N they are ahead with the interval above "
        f"0 at {ahead}, behind with it below 0 at {behind}."
    )


def _row(size: int, found: Mapping[str, Measured]) -> list[str]:
    means = [estimate_mean(found[each].scores) if each in found else None
             for each in (CALIBRATED, *RIVALS)]  # fmt: skip
    gains = [signed(_gain(found, each)) if each in found else "–" for each in RIVALS]
    return [f"{size:,}", *map(score, means), *gains]


def _figures(found: Mapping[str, Measured]) -> dict[str, object]:
    return {
        "scores": {name: estimate_mean(each.scores).to_json() for name, each in found.items()},
        "evaluations_per_image": {name: each.per_image for name, each in found.items()},
        "gains": {each: _gain(found, each).to_json() for each in RIVALS if each in found},
    }


def _draw(name: str, spent: str, curves: Curves, alone: Sequence[Measured]) -> bytes:
    scores = [
        band(
            method,
            [(n, estimate_mean(found[method].scores)) for n, found in curves.items()
             if method in found],
            colour, _MARKERS[method],
        )
        for method, colour in _COLOURS.items()
    ]  # fmt: skip
    gains = [
        band(f"over {each}", _gains(curves, each), _COLOURS[each], _MARKERS[each])
        for each in RIVALS
    ]
    levels = [Level(f"{label(each.setting)} alone", each.mean) for each in alone]
    across, sizes = "prompts of one template, N", list(curves)
    panels = [
        PlotPanel("Score: higher is better", across, "mean score",
              [line for line in scores if line.xs], levels, True, (), sizes),
        PlotPanel("What calibrated plans gain", across, "difference of scores",
              [line for line in gains if line.xs], [Level("", 0.0)], True, (), sizes),
    ]  # fmt: skip
    note = "bands: 95 % intervals, those of differences paired by prompt"
    return draw_panels(f"{name}: {spent}", panels, note)
