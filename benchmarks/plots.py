"""Plots of the page, as PNG files beside it.

Knows lines, axes and matplotlib, which only developers have: without it there are no new plots.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from benchmarks.outcome import Outcome, Plot

_MARKS = 8  # that have room below an axis


def plot_name(benchmark: str, plot: Plot) -> str:
    """Return the file name of a plot."""
    title = re.sub("[^a-z0-9]+", "-", plot.title.lower()).strip("-")
    return f"{benchmark}-{title}.png"


def draw_plots(results: Path, benchmark: str, outcome: Outcome) -> None:
    """Draw all plots of an outcome into a folder."""
    if find_spec("matplotlib") is None:
        return
    for plot in outcome.plots:
        _draw(plot, results / plot_name(benchmark, plot))


def _draw(plot: Plot, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.8), dpi=120)
    for name, points in plot.lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
    if plot.logarithmic:
        axes.set_xscale("log")
        marks = sorted({x for points in plot.lines.values() for x, _ in points})
        if len(marks) <= _MARKS:
            axes.set_xticks(marks, [f"{mark:,g}" for mark in marks])
            axes.minorticks_off()
    if plot.wanted is not None:
        axes.axhline(plot.wanted, color="0.4", linewidth=1, linestyle="--", label="goal")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)
