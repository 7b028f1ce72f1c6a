"""Drawing: what is stored of a finished segment, decoded and packed.

Knows decoders, pictures and small previews; knows nothing of leases, rounds or threads. `decode`
needs the device, `make_entry` does not, so the two may run on different threads.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.sampler import Finished
from tasks.recorder import Entry, Object
from tasks.settings import Settings
from tasks.work import Work, checkpoint, picture, preview_key

_PREVIEW_SIDE = 96  # pixels


@dataclass(frozen=True)
class Drawn:
    """A finished segment with what only the device could make of it."""

    finished: Finished
    pixels: npt.NDArray[np.uint8] | None  # (H, W, 3); None for a split that is not shown


def decode(work: Work, settings: Settings, denoiser: Denoiser, finished: Finished) -> Drawn:
    """Decode a segment's latents: always at a leaf, at a split where previews are wanted.

    One by one: a picture must not depend on what ended in the same round.
    """
    if not settings.previews and not work.plan.is_leaf(finished.segment):
        return Drawn(finished, None)
    return Drawn(finished, denoiser.decode(finished.state.latents[None])[0])


def make_entry(work: Work, settings: Settings, drawn: Drawn) -> Entry:
    """Return the objects that are stored of a segment."""
    segment, pixels = drawn.finished.segment, drawn.pixels
    stored = checkpoint(work, segment, drawn.finished.state)
    if pixels is None:
        return Entry(segment.id, stored)
    if not work.plan.is_leaf(segment):
        small = Object(preview_key(work.night.keys[segment.id]), _preview(pixels), "image/webp")
        return Entry(segment.id, stored, preview=small)
    leaf, shown = work.plan.order[segment.first], settings.prompt_in_images
    return Entry(segment.id, stored, picture(work, leaf, pixels, with_prompt=shown))


def _preview(pixels: npt.NDArray[np.uint8]) -> bytes:
    small = Image.fromarray(pixels)
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return file.getvalue()
