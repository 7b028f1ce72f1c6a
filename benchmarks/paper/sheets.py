"""Sheets of pictures, as PNG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hierdiff_core.evaluation.plots import INK, QUIET, as_png, load_pyplot


def draw_sheet(
    heading: str,
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    columns: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
) -> bytes:
    """Return rows of pictures with a name at the left, and column names above, as PNG.

    `below` holds for each row what stands under its pictures.
    """
    pyplot = load_pyplot()
    width = max(len(pictures) for _, pictures in rows)
    size = (1.5 * width + 1.7, 1.62 * len(rows) + 0.7 + 0.25 * bool(below))
    figure, axes = pyplot.subplots(
        len(rows), width, figsize=size, squeeze=False, layout="constrained"
    )
    for axis in axes.ravel():
        axis.set_axis_off()
    for at, (name, pictures) in enumerate(rows):
        for column, picture in enumerate(pictures):
            axis = axes[at][column]
            axis.imshow(picture, interpolation="nearest")
            text = below[at][column] if below and column < len(below[at]) else ""
            axis.text(
                0.5, -0.05, text, transform=axis.transAxes, ha="center", va="top",
                fontsize=6.5, color=QUIET, wrap=True,
            )  # fmt: skip
            if at == 0 and column < len(columns):
                axis.set_title(columns[column], fontsize=9, color=QUIET)
        axes[at][0].text(
            -0.08, 0.5, name, transform=axes[at][0].transAxes, ha="right", va="center",
            fontsize=9, color=INK,
        )  # fmt: skip
    figure.suptitle(heading, x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
    return as_png(pyplot, figure)
