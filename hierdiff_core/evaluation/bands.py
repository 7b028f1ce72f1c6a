"""Bands: figures with their intervals as lines of a plot.

Knows estimates and lines; knows nothing of what they are estimates of.
"""

from __future__ import annotations

from collections.abc import Sequence

from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.plots import Line


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
