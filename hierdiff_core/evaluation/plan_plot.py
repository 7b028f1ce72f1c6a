"""Calibrated plans of one set as a plot: the score at each budget, and the gain over its rivals."""

from __future__ import annotations

from collections.abc import Sequence

from hierdiff_core.evaluation.bootstrap import estimate_mean
from hierdiff_core.evaluation.budgets import Ladder
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.plots import (
    ALONE,
    BLIND,
    SHARED,
    Level,
    Line,
    PlotPanel,
    band,
    draw_panels,
)
from hierdiff_core.evaluation.setting import label

TICKS = (1.2, 1.6, 2, 3, 4, 6, 8)
ACROSS = "denoiser evaluations per image"
CALIBRATED, TREE, STANDARD = SHARED[0], BLIND, ALONE[1]
_BEYOND = 1.5  # standard settings are drawn up to this multiple of the dearest rung


def draw_plans(ladder: Ladder) -> bytes:
    """Return the plot as PNG."""
    rungs, rival = ladder.rungs, ladder.rival
    lines = [
        _scores("calibrated", [rung.chosen for rung in rungs], CALIBRATED),
        _scores("best tree", [rung.best_tree for rung in rungs], TREE, "s"),
        _scores("plain steps", _standards(ladder), STANDARD, "x"),
    ]
    gains = [
        band("over the best tree", [(r.evaluations, r.over_trees) for r in rungs], TREE, "s"),
        band("over plain steps", [(r.evaluations, r.over_standard) for r in rungs], STANDARD, "x"),
    ]
    panels = [
        PlotPanel("Score: higher is better", ACROSS, "mean score", lines,
              [Level(label(rival.setting), rival.mean)], True, (), TICKS),
        PlotPanel("What calibrated plans gain", ACROSS, "difference of scores", gains,
              [Level("", 0.0)], True, (), TICKS),
    ]  # fmt: skip
    heading = f"{ladder.prompts.name}: {ladder.prompts.title}"
    note = (
        "bands: 95 % intervals, those of differences paired by prompt; calibrated plans are chosen "
        "by prediction, their rivals by score;\nplain steps: the best of no more evaluations, and "
        "below the cheapest that one"
    )
    return draw_panels(heading, panels, note)


def _scores(name: str, ladder: Sequence[Measured], colour: str, marker: str = "o") -> Line:
    return band(name, [(f.per_image, estimate_mean(f.scores)) for f in ladder], colour, marker)


def _standards(ladder: Ladder) -> list[Measured]:
    """Return the best standard setting of each cost, up to _BEYOND times the dearest rung."""
    limit = _BEYOND * max(rung.evaluations for rung in ladder.rungs)
    best: dict[float, Measured] = {}
    for measured in sorted(ladder.standards, key=lambda each: each.mean):
        if measured.per_image <= limit:
            best[measured.per_image] = measured
    return list(best.values())
