"""The ten products as pieces of material, back to front.

Knows outlines only; "body" takes the picture's colour and pattern, "trim" the colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from training.shapes import Shape, arc, blob, ellipse, line, polygon


# fmt: off - one piece to a line, as one draws
def _mug() -> list[Shape]:
    return [
        arc("trim", (0.72, 0.6, 0.2, 0.2), (-85, 85), 0.085),
        polygon(
            "body",
            (0.12, 0.26),
            (0.74, 0.26),
            (0.71, 0.88),
            (0.64, 0.98),
            (0.22, 0.98),
            (0.15, 0.88),
        ),
        ellipse("trim", 0.43, 0.26, 0.31, 0.085),
        ellipse("hollow", 0.43, 0.265, 0.265, 0.06),
    ]


def _teapot() -> list[Shape]:
    return [
        arc("trim", (0.2, 0.64, 0.17, 0.19), (60, 300), 0.07),
        blob(
            "trim", (0.7, 0.6), (0.86, 0.55), (0.9, 0.36), (1.02, 0.36), (0.96, 0.62), (0.7, 0.86)
        ),
        ellipse("trim", 0.5, 0.96, 0.2, 0.045),
        ellipse("body", 0.5, 0.67, 0.34, 0.3),
        ellipse("trim", 0.5, 0.4, 0.19, 0.075),
        ellipse("metal", 0.5, 0.29, 0.055, 0.055),
    ]


def _bottle() -> list[Shape]:
    return [
        polygon(
            "body",
            (0.43, 0.14),
            (0.57, 0.14),
            (0.57, 0.28),
            (0.66, 0.36),
            (0.71, 0.46),
            (0.71, 0.95),
            (0.67, 1.0),
            (0.33, 1.0),
            (0.29, 0.95),
            (0.29, 0.46),
            (0.34, 0.36),
            (0.43, 0.28),
        ),
        polygon("metal", (0.41, 0.01), (0.59, 0.01), (0.59, 0.15), (0.41, 0.15)),
    ]


def _lamp() -> list[Shape]:
    return [
        line("metal", 0.05, (0.5, 0.5), (0.5, 0.94)),
        ellipse("metal", 0.5, 0.95, 0.22, 0.05),
        ellipse("glow", 0.5, 0.56, 0.4, 0.06),
        polygon("body", (0.33, 0.04), (0.67, 0.04), (0.92, 0.56), (0.08, 0.56)),
    ]


def _chair() -> list[Shape]:
    return [
        line("wood", 0.055, (0.3, 0.62), (0.3, 0.9)),
        line("wood", 0.055, (0.7, 0.62), (0.7, 0.9)),
        line("wood", 0.06, (0.28, 0.4), (0.26, 0.6)),
        line("wood", 0.06, (0.72, 0.4), (0.74, 0.6)),
        blob("body", (0.18, 0.0), (0.82, 0.0), (0.8, 0.48), (0.2, 0.48)),
        line("wood", 0.065, (0.16, 0.68), (0.12, 0.98)),
        line("wood", 0.065, (0.84, 0.68), (0.88, 0.98)),
        polygon("body", (0.2, 0.54), (0.8, 0.54), (0.92, 0.7), (0.08, 0.7)),
        polygon("trim", (0.08, 0.7), (0.92, 0.7), (0.9, 0.75), (0.1, 0.75)),
    ]


def _backpack() -> list[Shape]:
    return [
        arc("dark", (0.5, 0.1, 0.1, 0.09), (180, 360), 0.05),
        line("dark", 0.09, (0.2, 0.4), (0.14, 0.66), (0.2, 0.9)),
        line("dark", 0.09, (0.8, 0.4), (0.86, 0.66), (0.8, 0.9)),
        blob(
            "body", (0.2, 0.02), (0.8, 0.02), (0.86, 0.5), (0.86, 1.06), (0.14, 1.06), (0.14, 0.5)
        ),
        arc("dark", (0.5, 0.5, 0.26, 0.2), (190, 350), 0.03),
        blob("trim", (0.24, 0.58), (0.76, 0.58), (0.78, 0.97), (0.22, 0.97)),
        line("metal", 0.035, (0.36, 0.67), (0.64, 0.67)),
    ]


def _shirt() -> list[Shape]:
    return [
        arc("metal", (0.5, 0.07, 0.05, 0.06), (150, 380), 0.025),
        polygon(
            "body",
            (0.34, 0.12),
            (0.66, 0.12),
            (0.8, 0.18),
            (1.0, 0.42),
            (0.84, 0.54),
            (0.75, 0.44),
            (0.76, 0.98),
            (0.24, 0.98),
            (0.25, 0.44),
            (0.16, 0.54),
            (0.0, 0.42),
            (0.2, 0.18),
        ),
        ellipse("trim", 0.5, 0.12, 0.165, 0.12),
        ellipse("hollow", 0.5, 0.1, 0.12, 0.085),
    ]


def _sneaker() -> list[Shape]:
    return [
        polygon(
            "body",
            (0.05, 0.42),
            (0.12, 0.36),
            (0.3, 0.4),
            (0.4, 0.36),
            (0.5, 0.42),
            (0.66, 0.6),
            (0.88, 0.67),
            (1.0, 0.76),
            (1.02, 0.9),
            (0.03, 0.9),
        ),
        blob("paper", (0.8, 0.62), (1.0, 0.68), (1.06, 0.92), (0.78, 0.92)),
        polygon(
            "paper", (0.0, 0.86), (1.05, 0.86), (1.04, 0.96), (0.98, 1.0), (0.05, 1.0), (0.0, 0.96)
        ),
        line("dark", 0.025, (0.02, 0.975), (1.02, 0.975)),
        line("paper", 0.035, (0.42, 0.5), (0.52, 0.44)),
        line("paper", 0.035, (0.5, 0.57), (0.6, 0.52)),
        line("paper", 0.035, (0.58, 0.64), (0.68, 0.6)),
        ellipse("hollow", 0.22, 0.4, 0.14, 0.035),
    ]


def _umbrella() -> list[Shape]:
    dome = [(0.5 - 0.5 * c, 0.52 - 0.46 * s) for c, s in _HALF_CIRCLE]
    hem = [(0.83, 0.46), (0.67, 0.53), (0.5, 0.46), (0.33, 0.53), (0.17, 0.46)]
    return [
        line("metal", 0.03, (0.5, 0.0), (0.5, 0.1)),
        line("wood", 0.04, (0.5, 0.46), (0.5, 0.9)),
        arc("wood", (0.43, 0.9, 0.07, 0.08), (0, 180), 0.05),
        polygon("body", *dome, *hem),
        line("dark", 0.015, (0.5, 0.06), (0.37, 0.25), (0.33, 0.53)),
        line("dark", 0.015, (0.5, 0.06), (0.63, 0.25), (0.67, 0.53)),
    ]


def _clock() -> list[Shape]:
    return [
        line("dark", 0.07, (0.28, 0.86), (0.18, 0.98)),
        line("dark", 0.07, (0.72, 0.86), (0.82, 0.98)),
        ellipse("metal", 0.22, 0.16, 0.15, 0.12),
        ellipse("metal", 0.78, 0.16, 0.15, 0.12),
        ellipse("body", 0.5, 0.55, 0.43, 0.43),
        ellipse("paper", 0.5, 0.55, 0.26, 0.26),
        line("dark", 0.035, (0.5, 0.38), (0.5, 0.55), (0.61, 0.62)),
        ellipse("dark", 0.5, 0.55, 0.03, 0.03),
    ]


_HALF_CIRCLE = [
    (1.0, 0.0),
    (0.97, 0.26),
    (0.87, 0.5),
    (0.71, 0.71),
    (0.5, 0.87),
    (0.26, 0.97),
    (0.0, 1.0),
    (-0.26, 0.97),
    (-0.5, 0.87),
    (-0.71, 0.71),
    (-0.87, 0.5),
    (-0.97, 0.26),
    (-1.0, 0.0),
]

# fmt: on
SHAPES: Mapping[str, Callable[[], list[Shape]]] = {
    "mug": _mug,
    "teapot": _teapot,
    "bottle": _bottle,
    "lamp": _lamp,
    "chair": _chair,
    "backpack": _backpack,
    "shirt": _shirt,
    "sneaker": _sneaker,
    "umbrella": _umbrella,
    "clock": _clock,
}
CLOTH = frozenset({"chair", "backpack", "shirt", "sneaker", "umbrella", "lamp"})  # woven
