"""How the gain grows with the number of prompts of one template."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.paper.grid import PaperStudy
from hierdiff_core.evaluation.bootstrap import estimate_mean
from hierdiff_core.evaluation.frontier import Measured, saving_at_equal_score
from hierdiff_core.evaluation.grid import PAPER_METHOD
from hierdiff_core.evaluation.page import SectionReport, Table, number, score, share
from hierdiff_core.evaluation.plots import SHARED, Level, PlotPanel, band, draw_panels
from hierdiff_core.evaluation.prompt_sets import PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, label, standard
from hierdiff_core.evaluation.unit import Trial, Unit


def jobs(study: PaperStudy) -> list[Trial]:
    """See Section."""
    prompts = largest_set(study)
    if prompts is None:
        return []
    shared = [unit_among(study, prompts, size, each) for size in sizes_within(study, prompts)
              for each in _settings(study)]  # fmt: skip
    return [_alone(study, prompts), *shared]


def report(study: PaperStudy, results: Results) -> SectionReport:
    """See Section."""
    title = "How the gain grows with the number of prompts"
    prompts = largest_set(study)
    reference = None if prompts is None else results.measured_unit(_alone(study, prompts))
    if prompts is None or reference is None:
        return SectionReport(title, ["Not measured yet."])
    rows, figures, curves = [], dict[str, object](), dict[int, list[Measured]]()
    for size in sizes_within(study, prompts):
        units = [unit_among(study, prompts, size, each) for each in _settings(study)]
        family = [found for unit in units if (found := results.measured_unit(unit)) is not None]
        if not family:
            continue
        saving = saving_at_equal_score(family, reference)
        curves[size] = family
        scores = {f"{each.per_image:.2f}": each.mean for each in family}
        means = [f"{each.mean:.3f} at {number(each.per_image, 2)}" for each in family]
        rows.append([f"{size:,}", share(saving), ", ".join(means)])
        figures[str(size)] = {"saving": saving.to_json(), "scores": scores}
    name = label(reference.setting)
    caption = (
        f"The same {len(reference.scores)} prompts of `{prompts.name}`, among N of its prompts "
        f"(below that, dealt into catalogues of N); {name} alone scores "
        f"{score(estimate_mean(reference.scores))}."
    )
    columns = ("N", f"saved over {name} at equal score", "mean score at evaluations per image")
    pictures = {"growth.png": partial(_draw, reference, curves)} if curves else {}
    return SectionReport(title, [], [Table(columns, rows, caption)], pictures, figures)


def largest_set(study: PaperStudy) -> PromptSet | None:
    """Return the largest report set of one template, or the largest."""
    sets = sorted(study.report, key=len, reverse=True)
    return next(iter(sets), None)


def sizes_within(study: PaperStudy, prompts: PromptSet) -> list[int]:
    """Return those of the grid's N that a set has prompts for."""
    return [size for size in study.grid.sizes if size <= len(prompts)]


def _order(study: PaperStudy, prompts: PromptSet) -> tuple[list[str], int]:
    """Return the prompts, those that are scored first, and how many these are."""
    sizes = sizes_within(study, prompts) or [len(prompts)]
    # Catalogues smaller than the sample must divide it.
    inside = [size for size in sizes if size <= study.grid.sample] or [min(sizes)]
    scored = max(inside)
    order = np.random.default_rng(1).permutation(len(prompts))
    return [prompts.entries[int(each)].text for each in order], scored


def unit_among(study: PaperStudy, prompts: PromptSet, size: int, setting: Setting) -> Unit:
    """Return the unit of the scored prompts among so many, or dealt into catalogues of so many."""
    texts, scored = _order(study, prompts)
    if size >= scored:
        return Unit(tuple(texts[:size]), tuple(range(scored)), setting)
    whole = scored // size
    groups = (size,) * whole + ((scored - whole * size,) if scored % size else ())
    return Unit(tuple(texts[:scored]), tuple(range(scored)), setting, groups)


def unit_alone(study: PaperStudy, prompts: PromptSet, steps: int) -> Unit:
    """Return the unit in which each of the scored prompts takes K steps alone."""
    texts, scored = _order(study, prompts)
    return Unit(tuple(texts[:scored]), tuple(range(scored)), standard(study.fast, steps))


def _alone(study: PaperStudy, prompts: PromptSet) -> Unit:
    return unit_alone(study, prompts, study.most_fast_steps(study.fast))


def _settings(study: PaperStudy) -> list[Setting]:
    steps = study.most_fast_steps(study.fast)
    return [
        Setting(PAPER_METHOD, study.fast, steps, saving=each) for each in study.grid.fast_savings
    ]


def _draw(reference: Measured, curves: dict[int, list[Measured]]) -> bytes:
    sizes = list(curves)
    alone = [Level("every prompt alone", reference.mean)]
    lines = []
    savings = sorted({each.setting.saving or 0 for family in curves.values() for each in family})
    for at, saving in enumerate(savings):
        points = [
            (size, estimate_mean(each.scores))
            for size, family in curves.items()
            for each in family
            if each.setting.saving == saving
        ]
        lines.append(band(f"{100 * saving:g} % saved", points, SHARED[at % len(SHARED)]))
    gains = [(size, saving_at_equal_score(curves[size], reference)) for size in sizes]
    across = "prompts of one template, N"
    panels = [
        PlotPanel("Score at a fixed saving", across, "mean score", lines, alone, True, (), sizes),
        PlotPanel("Saved at equal score", across, "share of evaluations",
                  [band("", gains, SHARED[0])], (), True, (), sizes),
    ]  # fmt: skip
    return draw_panels(f"Gain against N: {label(reference.setting)}", panels,
                       "bands: 95 % intervals")  # fmt: skip
