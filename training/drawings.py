"""Pictures of attributes: a pure function of (attributes, seed).

Knows how a scene is put together from shapes, patterns and backgrounds; knows no words.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from training.backgrounds import BACKGROUNDS
from training.patterns import surface
from training.products import CLOTH, SHAPES
from training.shapes import CANVAS, Array, Pose, mask
from training.styles import STYLES, Scene
from training.vocabulary import Attributes, indices

PIXELS = 64

_MATERIALS = {
    "metal": (0.68, 0.68, 0.70),
    "wood": (0.60, 0.40, 0.22),
    "dark": (0.17, 0.16, 0.20),
    "paper": (0.96, 0.95, 0.91),
    "hollow": (0.22, 0.19, 0.20),
    "glow": (1.00, 0.93, 0.62),
}


def draw(attributes: Attributes, seed: int) -> Image.Image:
    """Return a 64 x 64 RGB picture; the same attributes and seed give the same pixels.

    It is drawn at twice the size and reduced.
    """
    rng = np.random.default_rng([seed, *indices(attributes)])
    horizon = float(rng.uniform(0.58, 0.68))
    pose = _pose(rng)
    backdrop = BACKGROUNDS[attributes.background](rng, horizon)
    scene = _scene(attributes, pose, backdrop.astype(np.float32), rng)
    canvas = STYLES[attributes.style](scene, rng) * float(rng.uniform(0.95, 1.03))
    bytes_ = (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(bytes_).reduce(CANVAS // PIXELS)


def _pose(rng: np.random.Generator) -> Pose:
    return Pose(
        middle=CANVAS * float(rng.uniform(0.45, 0.55)),
        base=CANVAS * float(rng.uniform(0.84, 0.91)),
        size=CANVAS * float(rng.uniform(0.62, 0.74)),
        turn=float(rng.uniform(-7, 7)),
        mirrored=bool(rng.random() < 0.5),
    )


def _scene(attributes: Attributes, pose: Pose, backdrop: Array, rng: np.random.Generator) -> Scene:
    skin = surface(attributes.pattern, attributes.colour, pose, rng)
    trim = surface("plain", attributes.colour, pose, rng) * 0.86
    if attributes.product in CLOTH:
        skin = skin * _weave()
    paint, cover, edges, relief = _pieces(attributes.product, pose, skin, trim, rng)
    return Scene(backdrop, paint, cover, edges, relief, _shadow(pose, rng))


def _pieces(
    product: str, pose: Pose, skin: Array, trim: Array, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """Stack the product's pieces; each hides what lies behind it."""
    light = np.array([-0.8 if rng.random() < 0.7 else 0.8, -0.6], dtype=np.float32)
    paint = np.zeros((CANVAS, CANVAS, 3), dtype=np.float32)
    cover, edges, relief = (np.zeros((CANVAS, CANVAS, 1), dtype=np.float32) for _ in range(3))
    for shape in SHAPES[product]():
        here = mask(shape, pose)[..., None]
        colour = {"body": skin, "trim": trim}.get(shape.material)
        if colour is None:
            colour = np.array(_MATERIALS[shape.material], dtype=np.float32)
        paint = paint * (1 - here) + colour * here
        soft = gaussian_filter(here[..., 0], 5.0 if shape.stroke == 0 else 1.5)
        slope_y, slope_x = np.gradient(soft)
        lit = np.clip(-(slope_x * light[0] + slope_y * light[1])[..., None] * 9.0, -1, 1)
        relief = relief * (1 - here) + lit * here
        dy, dx = np.gradient(here[..., 0])
        edges = edges * (1 - here) + np.clip(np.hypot(dx, dy) * 1.6, 0, 1)[..., None]
        cover = np.maximum(cover, here)
    return paint, cover, np.clip(edges, 0, 1), -relief


def _weave() -> Array:
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    return (1 - 0.10 * (((x // 2) + (y // 2)) % 2)).astype(np.float32)[..., None]


def _shadow(pose: Pose, rng: np.random.Generator) -> Array:
    y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    lean = float(rng.uniform(-0.1, 0.1)) * pose.size
    across = (x - pose.middle - lean) / (0.46 * pose.size)
    along = (y - pose.base + 0.01 * pose.size) / (0.075 * pose.size)
    return np.exp(-((across**2 + along**2) ** 1.5))[..., None]
