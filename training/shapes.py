"""Outlines on a canvas: polygons in a unit box, posed and turned into soft masks.

Knows geometry; knows no product, colour or style. Lengths are in box units (x right, y down, the
product stands on y = 1) until a `Pose` maps them to pixels of the 128-pixel canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.float32]
CANVAS = 128
_FINER = 2  # masks are drawn larger and reduced, for soft edges


@dataclass(frozen=True)
class Shape:
    """One piece of a product: a filled polygon, or a stroke along a line."""

    points: NDArray[np.float64]  # (n, 2), box units
    material: str
    stroke: float = 0.0  # width in box units; 0 fills


@dataclass(frozen=True)
class Pose:
    """Where the unit box lies on the canvas."""

    middle: float  # x of the box's middle, pixels
    base: float  # y of the box's lower edge, pixels
    size: float  # side of the box, pixels
    turn: float  # degrees, clockwise, about the middle of the lower edge
    mirrored: bool

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (n, 2) box units to canvas pixels."""
        x = (points[:, 0] - 0.5) * (-self.size if self.mirrored else self.size)
        y = (points[:, 1] - 1.0) * self.size
        c, s = cos(radians(self.turn)), sin(radians(self.turn))
        return np.stack([self.middle + c * x - s * y, self.base + s * x + c * y], axis=1)


def polygon(material: str, *points: tuple[float, float]) -> Shape:
    """Fill straight edges."""
    return Shape(np.array(points), material)


def blob(material: str, *points: tuple[float, float]) -> Shape:
    """Fill an outline whose corners are cut three times (Chaikin), hence round."""
    outline = np.array(points)
    for _ in range(3):
        after = np.roll(outline, -1, axis=0)
        outline = np.stack([0.75 * outline + 0.25 * after, 0.25 * outline + 0.75 * after], axis=1)
        outline = outline.reshape(-1, 2)
    return Shape(outline, material)


def ellipse(material: str, x: float, y: float, rx: float, ry: float) -> Shape:
    """Fill an ellipse."""
    return Shape(_arc(x, y, rx, ry, 0, 360), material)


def arc(
    material: str,
    box: tuple[float, float, float, float],
    sweep: tuple[float, float],
    stroke: float,
) -> Shape:
    """Stroke part of the ellipse (x, y, rx, ry) between two angles, 0 right and 90 down."""
    return Shape(_arc(*box, *sweep), material, stroke)


def line(material: str, stroke: float, *points: tuple[float, float]) -> Shape:
    """Stroke straight segments with round joints."""
    return Shape(np.array(points), material, stroke)


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> NDArray[np.float64]:
    angles = np.radians(np.linspace(start, end, 40))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def mask(shape: Shape, pose: Pose) -> Array:
    """Return how much of each canvas pixel the shape covers: (128, 128), 0 to 1."""
    side = CANVAS * _FINER
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    points = [(float(x), float(y)) for x, y in pose.place(shape.points) * _FINER]
    if shape.stroke == 0.0:
        pen.polygon(points, fill=255)
    else:
        width = max(2.0, shape.stroke * pose.size * _FINER)
        pen.line(points, fill=255, width=round(width), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(image.reduce(_FINER), dtype=np.float32) / np.float32(255)
