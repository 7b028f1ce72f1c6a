"""The six places a product stands in, with their grain, veins, blades and sparkle.

Knows textures on the 128-pixel canvas; knows no product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from training.shapes import CANVAS, Array

Rng = np.random.Generator
_Y, _X = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32) / CANVAS


def noise(rng: Rng, across: int, down: int) -> Array:
    """Return smooth noise, (128, 128) in 0 to 1, with that many cells in each direction."""
    coarse = Image.fromarray(rng.random((down, across), dtype=np.float32))
    fine = coarse.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(fine, dtype=np.float32), 0, 1)


def tint(field: Array, low: tuple[float, ...], high: tuple[float, ...]) -> Array:
    """Colour a field in 0 to 1 from `low` to `high`."""
    ends = np.array([low, high], dtype=np.float32)
    return ends[0] + field[..., None] * (ends[1] - ends[0])


def _split(above: Array, below: Array, horizon: float) -> Array:
    share = np.clip((_Y - horizon) * CANVAS, 0, 1)[..., None]
    return above * (1 - share) + below * share


def _studio(rng: Rng, horizon: float) -> Array:
    light = 0.86 + 0.14 * np.exp(-4 * ((_X - rng.uniform(0.3, 0.7)) ** 2 + (_Y - 0.35) ** 2))
    fold = 0.07 * np.exp(-(((_Y - horizon) / 0.07) ** 2))
    return tint(light - fold, (0.0, 0.0, 0.02), (0.97, 0.97, 0.98))


def _wood(rng: Rng, horizon: float) -> Array:
    wall = tint(noise(rng, 3, 3), (0.90, 0.83, 0.72), (0.97, 0.92, 0.83))
    depth = (_Y - horizon) / (1 - horizon)
    board = np.floor(depth.clip(0, 0.999) ** 0.7 * 4)
    grain = noise(rng, 6, 64) * 0.6 + noise(rng, 14, 128) * 0.4
    shade = 0.2 + 0.6 * grain + 0.2 * ((board * 0.37 + rng.random()) % 1.0)
    seam = np.abs((depth.clip(0, 0.999) ** 0.7 * 4) % 1.0 - 0.02) < 0.07
    floor = tint(shade, (0.44, 0.25, 0.12), (0.80, 0.54, 0.30)) * (1 - 0.45 * seam[..., None])
    return _split(wall, floor, horizon)


def _marble(rng: Rng, horizon: float) -> Array:
    wall = tint(noise(rng, 2, 4), (0.50, 0.58, 0.66), (0.60, 0.68, 0.76))
    tiles = (np.abs((_X * 4) % 1.0 - 0.5) > 0.47) | (np.abs((_Y * 5) % 1.0 - 0.5) > 0.47)
    wall = wall * (1 - 0.12 * tiles[..., None])
    bend = _X * 2 + _Y * 3 + 1.6 * noise(rng, 5, 5) + 0.5 * noise(rng, 20, 20)
    vein = np.exp(-(np.abs(np.sin(np.pi * bend)) / 0.12))
    slab = tint(1 - vein * noise(rng, 6, 6), (0.52, 0.53, 0.58), (0.95, 0.95, 0.96))
    return _split(wall, slab, horizon)


def _meadow(rng: Rng, horizon: float) -> Array:
    sky = tint(_Y / horizon, (0.38, 0.66, 0.95), (0.78, 0.90, 1.0))
    cloud = np.clip(noise(rng, 5, 9) * 2.2 - 1.2, 0, 1)[..., None]
    sky = sky * (1 - cloud) + cloud
    blades = noise(rng, 90, 22) * 0.6 + noise(rng, 8, 5) * 0.4
    grass = tint(blades, (0.16, 0.38, 0.08), (0.55, 0.78, 0.25))
    flowers = (rng.random((CANVAS // 2, CANVAS // 2)) > 0.994).repeat(2, 0).repeat(2, 1)
    grass = np.where(flowers[..., None], np.array([1.0, 0.96, 0.75], dtype=np.float32), grass)
    return _split(sky, grass, horizon + 0.02 * float(rng.normal()))


def _beach(rng: Rng, horizon: float) -> Array:
    sky = tint(_Y / horizon, (0.60, 0.83, 0.97), (0.96, 0.95, 0.88))
    ripple = noise(rng, 10, 100)
    sea = tint(ripple, (0.10, 0.50, 0.66), (0.40, 0.78, 0.84))
    dunes = noise(rng, 5, 9) * 0.55 + rng.random((CANVAS, CANVAS), dtype=np.float32) * 0.45
    sand = tint(dunes, (0.80, 0.66, 0.44), (0.98, 0.89, 0.68))
    shore = horizon + 0.012 * np.sin(_X * 14 + rng.uniform(0, 6))
    foam = np.exp(-(((_Y - shore) / 0.014) ** 2))[..., None]
    land = _split(_split(sky, sea, horizon - 0.17), sand, horizon)
    return land * (1 - foam) + foam


def _night(rng: Rng, horizon: float) -> Array:
    lamp = rng.uniform(0.35, 0.65)
    centre = 0.5 + (lamp - 0.5) * (1 - _Y)
    cone = np.exp(-(((_X - centre) / (0.10 + 0.3 * _Y)) ** 2)) * (0.5 + _Y / 2)
    wall = tint(cone * 0.75, (0.04, 0.03, 0.11), (0.36, 0.30, 0.58))
    pool = np.exp(-(((_X - 0.5) / 0.36) ** 2) - ((_Y - 0.84) / 0.13) ** 2)
    stage = tint(pool, (0.05, 0.03, 0.09), (0.62, 0.52, 0.72))
    stars = rng.random((CANVAS, CANVAS)) > 0.997
    wall = np.where(stars[..., None], np.float32(0.8), wall)
    return _split(wall, stage * (0.9 + 0.2 * noise(rng, 40, 80)[..., None]), horizon)


BACKGROUNDS: Mapping[str, Callable[[Rng, float], Array]] = {
    "studio": _studio,
    "wood": _wood,
    "marble": _marble,
    "meadow": _meadow,
    "beach": _beach,
    "night": _night,
}
