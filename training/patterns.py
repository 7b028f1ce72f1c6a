"""Surface patterns and the two tones they alternate between.

Knows colours as linear-looking RGB in 0 to 1; knows no outline and no light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from training.shapes import CANVAS, Array, Pose

Tone = tuple[float, float, float]

# name: (main tone, second tone); the second is far in lightness and never another colour's main
TONES: Mapping[str, tuple[Tone, Tone]] = {
    "red": ((0.83, 0.10, 0.12), (1.00, 0.88, 0.84)),
    "orange": ((0.97, 0.50, 0.08), (1.00, 0.92, 0.80)),
    "yellow": ((0.98, 0.84, 0.13), (0.63, 0.44, 0.05)),
    "green": ((0.16, 0.60, 0.22), (0.88, 0.98, 0.82)),
    "teal": ((0.06, 0.66, 0.64), (0.88, 1.00, 0.96)),
    "blue": ((0.12, 0.29, 0.80), (0.86, 0.92, 1.00)),
    "purple": ((0.49, 0.20, 0.70), (0.94, 0.86, 1.00)),
    "pink": ((0.97, 0.52, 0.71), (1.00, 0.93, 0.95)),
    "black": ((0.10, 0.10, 0.12), (0.66, 0.66, 0.70)),
    "white": ((0.95, 0.95, 0.93), (0.60, 0.64, 0.72)),
}


def _plain(u: Array, v: Array) -> Array:
    return np.zeros_like(u)


def _striped(u: Array, v: Array) -> Array:
    return _step(_wave(u) - 0.1)


def _dotted(u: Array, v: Array) -> Array:
    row = np.floor(v)
    across, along = (u + 0.5 * row) % 1.0 - 0.5, v % 1.0 - 0.5
    return _step(0.32 - np.hypot(across, along), sharpness=9.0)


def _checked(u: Array, v: Array) -> Array:
    return (_step(_wave(u)) + _step(_wave(v))) * 0.5


def _zigzag(u: Array, v: Array) -> Array:
    return _step(_wave(v + np.abs(u % 1.0 - 0.5) * 0.9) - 0.1)


def _wave(x: Array) -> Array:
    return np.sin(2 * np.pi * x)


def _step(x: Array, sharpness: float = 4.0) -> Array:
    return np.clip(0.5 + sharpness * x, 0.0, 1.0)


PATTERNS: Mapping[str, Callable[[Array, Array], Array]] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "zigzag": _zigzag,
}


def surface(pattern: str, colour: str, pose: Pose, rng: np.random.Generator) -> Array:
    """Return the painted surface, (128, 128, 3): the pattern follows the product's turn."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    direction = float(rng.choice([0.0, 0.0, 90.0, 35.0]))
    angle = np.radians(pose.turn + direction * (pattern == "striped"))
    period = pose.size * float(rng.uniform(0.19, 0.24))
    x, y = x - pose.middle, y - pose.base
    shift_u, shift_v = rng.uniform(size=2)
    u = (np.cos(angle) * x + np.sin(angle) * y) / period + shift_u
    v = (np.cos(angle) * y - np.sin(angle) * x) / period + shift_v
    share = PATTERNS[pattern](u.astype(np.float32), v.astype(np.float32))[..., None]
    main, second = (np.array(tone, dtype=np.float32) for tone in TONES[colour])
    jitter = rng.uniform(-0.025, 0.025, size=3).astype(np.float32)
    return np.clip(main + jitter, 0, 1) * (1 - share) + second * share
