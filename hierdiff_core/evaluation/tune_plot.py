"""The frontier of a catalogue as a plot: the share of the best score against its cost."""

from __future__ import annotations

from collections.abc import Sequence

from hierdiff_core.evaluation.frontier_plot import ACROSS, TICKS
from hierdiff_core.evaluation.plots import (
    ALONE,
    BLIND,
    SHARED,
    Level,
    Line,
    PlotPanel,
    draw_panels,
)
from hierdiff_core.evaluation.setting import solver_label
from hierdiff_core.evaluation.tune_choice import Choice, Judged
from hierdiff_core.evaluation.tune_words import words


def draw_choice(choice: Choice, catalogue: str, prompts: int) -> bytes:
    """Return the plot as PNG: all tried settings, and the chosen one with its interval."""
    levels = [Level(f"wanted: {100 * choice.quality:g} %", choice.quality)]
    panel = PlotPanel(
        "Share of the best standard setting's score",
        ACROSS,
        "share",
        [*_families(choice.tried), *_chosen(choice.chosen)],
        levels,
        logarithmic=True,
        ticks=TICKS,
    )
    halves = [len(each.measured.scores) for each in (choice.tried[0], choice.chosen)]
    note = (
        f"{prompts:,} prompts; lines: {halves[0]} of them, on which was chosen; "
        f"bar: 95 % interval of the choice on {halves[1]} others"
    )
    # A $ would begin a formula: names are data.
    name = catalogue.replace("$", "\\$")
    return draw_panels(f"{name}: {words(choice.chosen.setting)}", [panel], note)


def _families(tried: Sequence[Judged]) -> list[Line]:
    groups: dict[tuple[bool, str, int], list[Judged]] = {}
    for judged in tried:
        setting = judged.setting
        steps = setting.steps if setting.shares else 0
        groups.setdefault((setting.shares, setting.solver, steps), []).append(judged)
    lines, counts = [], {False: 0, True: 0}
    for (shares, solver, steps), group in groups.items():
        colours = SHARED if shares else ALONE
        colour = colours[counts[shares] % len(colours)]
        counts[shares] += 1
        name = solver_label(solver)
        label = f"{name} {steps} shared" if shares else f"{name} alone"
        for method in dict.fromkeys(each.setting.method for each in group):
            points = [each for each in group if each.setting.method == method]
            lines.append(_line(label, points, colour, "o" if shares else "x", thin=shares))
            label = ""
    return lines


def _line(label: str, points: Sequence[Judged], colour: str, marker: str, thin: bool) -> Line:
    xs = [each.measured.per_image for each in points]
    return Line(label, xs, [each.share.value for each in points], colour, marker=marker, thin=thin)


def _chosen(judged: Judged) -> list[Line]:
    at, share = judged.measured.per_image, judged.share
    bar = Line("", [at, at], [share.low, share.high], BLIND, marker="_")
    return [bar, Line("chosen", [at], [share.value], BLIND, marker="*")]
