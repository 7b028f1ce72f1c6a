"""Plots: lines over evaluations, as PNG.

matplotlib is imported when a plot is drawn, since only development installs have it. Sharing is
orange as in a plan's picture, standard runs are grey.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.flame.palette import LIGHT

INK, QUIET, RULE = "#1f1b16", "#6f675c", "#e8e3da"
SHARED = (LIGHT[6], LIGHT[4], "#d0a020", LIGHT[5])
ALONE = ("#3f4a54", "#8a949c", "#5f7f95", "#b3b9bd")
BLIND = "#2f7f79"  # for anything beside sharing and standard runs
_DOTS = 200  # per inch; a page shows the picture at half its size
_LINE_COLOURS = 64  # enough for antialiased lines and letters, at a third of the bytes


@dataclass(frozen=True)
class Line:
    """The points of one line."""

    label: str  # written at its end; empty where another line of its kind is labelled
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marker: str = "o"
    thin: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Level:
    """A value to compare with, as a horizontal line."""

    label: str
    value: float


@dataclass(frozen=True)
class PlotPanel:
    """One pair of axes."""

    title: str
    across: str
    up: str
    lines: Sequence[Line]
    levels: Sequence[Level] = ()
    logarithmic: bool = False
    key: Sequence[tuple[str, str]] = ()  # (marker, what it stands for)
    ticks: Sequence[float] = ()


def draw_panels(heading: str, panels: Sequence[PlotPanel], note: str = "") -> bytes:
    """Return the panels side by side as PNG."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(6.4 * len(panels), 4.5), squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        _draw_panel(axis, panel)
    figure.suptitle(heading, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    if note:
        figure.supxlabel(note, x=0.01, ha="left", color=QUIET, fontsize=8.5)
    return as_png(pyplot, figure, colours=_LINE_COLOURS)


def band(
    name: str, points: Sequence[tuple[float, Estimate]], colour: str, marker: str = "o"
) -> Line:
    """Return the line through (place, figure), with a band of the figures' intervals."""
    return Line(
        name,
        [place for place, _ in points],
        [each.value for _, each in points],
        colour,
        [each.low for _, each in points],
        [each.high for _, each in points],
        marker,
    )


def load_pyplot() -> Any:
    """Return matplotlib.pyplot; raises InvalidSetting where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        hint = "plots need matplotlib; pip install 'hierdiff[dev]', or use --no-plots"
        raise InvalidSetting(setting="plots", value=True, hint=hint) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9.5, "font.family": "DejaVu Sans"})
    return pyplot


def _draw_panel(axis: Any, panel: PlotPanel) -> None:
    for line in panel.lines:
        _draw_line(axis, line)
    for level in panel.levels:
        axis.axhline(level.value, color=QUIET, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
    if panel.logarithmic:
        axis.set_xscale("log")
    if panel.ticks:
        axis.set_xticks(list(panel.ticks), [f"{each:g}" for each in panel.ticks])
        axis.minorticks_off()
    axis.set_title(panel.title, loc="left", color=INK, fontsize=10.5)
    axis.set_xlabel(panel.across, color=QUIET)
    axis.set_ylabel(panel.up, color=QUIET)
    axis.grid(color=RULE, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(colors=QUIET, length=0)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(QUIET)
    _label_ends(axis, panel)
    for marker, meaning in panel.key:
        axis.plot([], [], marker=marker, linestyle="", color=QUIET, markersize=5, label=meaning)
    if panel.key:
        axis.legend(frameon=False, fontsize=8.5, labelcolor=QUIET, loc="best", handletextpad=0.2)


def _draw_line(axis: Any, line: Line) -> None:
    order = np.argsort(line.xs)
    xs, ys = (np.asarray(each, dtype=float)[order] for each in (line.xs, line.ys))
    axis.plot(
        xs, ys, color=line.colour, marker=line.marker, markersize=3.5 if line.thin else 5,
        linewidth=0.9 if line.thin else 1.9, alpha=0.75 if line.thin else 1.0,
        linestyle=(0, (4, 2)) if line.dashed else "-", zorder=2 if line.thin else 3,
    )  # fmt: skip
    if line.low is not None and line.high is not None:
        low, high = (np.asarray(each, dtype=float)[order] for each in (line.low, line.high))
        axis.fill_between(xs, low, high, color=line.colour, alpha=0.13, linewidth=0)


def _label_ends(axis: Any, panel: PlotPanel) -> None:
    """Write labels at the right of the axes, moved apart where they would overlap."""
    axis.margins(x=0.04)
    bottom, top = axis.get_ylim()
    ends = [
        (line.ys[int(np.argmax(line.xs))], line.label, line.colour)
        for line in panel.lines
        if line.label and len(line.xs)
    ]
    ends += [(level.value, level.label, QUIET) for level in panel.levels]
    places = _apart([end[0] for end in ends], gap=(top - bottom) * 0.05)
    highest = max([top, *places])
    lowest = min([bottom, *places])
    axis.set_ylim(lowest, highest)
    for (_, text, colour), place in zip(ends, places, strict=True):
        axis.annotate(
            text, (1.01, place), xycoords=("axes fraction", "data"), color=colour,
            fontsize=8.5, va="center", annotation_clip=False,
        )  # fmt: skip


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Return the values, moved apart so that neighbours differ by at least about a gap."""
    order = np.argsort(values)
    placed = np.asarray(values, dtype=float)[order]
    for _ in range(200):
        gaps = np.diff(placed)
        tight = np.flatnonzero(gaps < gap * 0.999)
        if not len(tight):
            break
        for at in tight:
            short = (gap - (placed[at + 1] - placed[at])) / 2
            placed[at] -= short
            placed[at + 1] += short
    found = np.empty(len(placed))
    found[order] = placed
    return [float(each) for each in found]


def as_png(pyplot: Any, figure: Any, colours: int = 256) -> bytes:
    """Return a figure as PNG with this many colours, and close it."""
    drawn, file = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DOTS, facecolor="white")
    pyplot.close(figure)
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()
