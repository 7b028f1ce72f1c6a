"""How a scene is rendered: lit like a photograph, washed, pencilled or printed flat.

Knows light, edges and paper; knows neither which product nor which place it renders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from training.backgrounds import noise
from training.shapes import CANVAS, Array

Rng = np.random.Generator
_LUMA = np.array([0.3, 0.59, 0.11], dtype=np.float32)


@dataclass(frozen=True)
class Scene:
    """A product before a background, in layers of the 128-pixel canvas."""

    backdrop: Array  # (128, 128, 3)
    paint: Array  # (128, 128, 3), colours of the product without light
    cover: Array  # (128, 128, 1), where the product is
    edges: Array  # (128, 128, 1), outlines of all pieces
    relief: Array  # (128, 128, 1), light on the surface, about -1 to 1
    shadow: Array  # (128, 128, 1), cast on the ground


def _photo(scene: Scene, rng: Rng) -> Array:
    lit = scene.paint * (0.92 + 0.38 * scene.relief) + 0.55 * np.clip(scene.relief - 0.55, 0, 1)
    lit = lit * (1 - 0.22 * scene.edges)
    ground = scene.backdrop * (1 - 0.55 * scene.shadow)
    grain = rng.normal(scale=0.012, size=(CANVAS, CANVAS, 1)).astype(np.float32)
    return _over(ground, lit, scene.cover) + grain


def _watercolour(scene: Scene, rng: Rng) -> Array:
    pigment = noise(rng, 12, 12)[..., None] * 0.6 + noise(rng, 60, 60)[..., None] * 0.4
    ground = gaussian_filter(scene.backdrop, (3, 3, 0)) * (1 - 0.3 * scene.shadow)
    wash = _over(ground, scene.paint * (0.95 + 0.15 * scene.relief), scene.cover)
    wash = gaussian_filter(wash, (0.8, 0.8, 0))
    wash = 1 - (1 - wash) * (0.62 + 0.42 * pigment)
    rim = np.abs(scene.cover - gaussian_filter(scene.cover, (2.5, 2.5, 0))) * scene.cover
    wash = wash * (1 - 0.7 * rim)
    y, x = np.mgrid[-1 : 1 : CANVAS * 1j, -1 : 1 : CANVAS * 1j].astype(np.float32)
    ragged = np.maximum(np.abs(x), np.abs(y)) + 0.22 * (noise(rng, 14, 14) - 0.5)
    paper = np.clip((ragged - 0.84) * 12, 0, 1)[..., None] * (1 - scene.cover)
    return _over(wash, np.array([0.98, 0.97, 0.94], dtype=np.float32), paper)


def _sketch(scene: Scene, rng: Rng) -> Array:
    y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    angle = rng.uniform(0.55, 1.0)
    hatch = 0.5 + 0.5 * np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / 5.0)
    hatch = (hatch * (0.5 + noise(rng, 50, 50)))[..., None]
    grey = (scene.backdrop * (1 - 0.5 * scene.shadow)) @ _LUMA
    faint = scene.backdrop * 0.35 + grey[..., None] * 0.65
    ground = 1 - (1 - faint) * (0.3 + 0.3 * hatch)
    colour = 1 - (1 - scene.paint) * np.clip(0.62 + 0.5 * hatch - 0.3 * scene.relief, 0.4, 1.1)
    drawn = _over(ground, colour, scene.cover)
    line = np.clip(scene.edges * (0.7 + 0.5 * noise(rng, 30, 30)[..., None]), 0, 1)
    return _over(drawn, np.array([0.2, 0.19, 0.22], dtype=np.float32), line)


def _poster(scene: Scene, rng: Rng) -> Array:
    flat = gaussian_filter(scene.backdrop, (4, 2, 0))
    flat = np.round(flat * 6 + float(rng.uniform(-0.15, 0.15))) / 6
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    halftone = ((x + y) % 6 < 3)[..., None] & (scene.relief < -0.12)
    cast = _over(flat, flat * 0.55, (scene.shadow > 0.4).astype(np.float32))
    body = scene.paint * (1 - 0.3 * halftone)
    outline = np.clip(gaussian_filter(scene.cover, (2, 2, 0)) * 3, 0, 1)
    ink = np.array([0.07, 0.06, 0.12], dtype=np.float32)
    return _over(_over(cast, ink, outline), _over(body, ink, 0.8 * scene.edges), scene.cover)


def _over(below: Array, above: Array, share: Array) -> Array:
    return below * (1 - share) + above * share


STYLES: Mapping[str, Callable[[Scene, Rng], Array]] = {
    "photo": _photo,
    "watercolour": _watercolour,
    "sketch": _sketch,
    "poster": _poster,
}
