"""Decoding: what is stored of a finished segment, a split's state or a decoded picture.

Decoding needs the device; making a file of the pixels does not, so the two may run on different
threads.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.plan import Plan
from hierdiff_core.sampling.decode import AT_ONCE, Decoded, Pixels, decode_each
from hierdiff_core.sampling.isolate import reason_of, try_call
from hierdiff_core.sampling.sampler import Finished
from hierdiff_core.solver import Solver
from tasks.object_keys import preview_key
from tasks.settings import Settings
from tasks.worker.shard import Work, name_noise, picture
from tasks.worker.write_batch import Maker, Object, Picture, Preview, Split, Unmade

log = logging.getLogger(__name__)

_PREVIEW_SIDE = 96  # pixels


class DecodeQueue:
    """Decodes finished segments, a few at once, and returns makers of what is stored of them.

    A GPU decodes when a maker is called, on another thread, while its next step is prepared; a CPU
    has nothing to gain from two networks at once and decodes at once. A crash loses the leaves that
    wait, for their pictures are all that would be stored of them.
    """

    def __init__(self, work: Work, settings: Settings, denoiser: Denoiser) -> None:
        self.work, self.settings, self.denoiser = work, settings, denoiser
        self.waiting: list[Finished] = []
        self.lock = threading.Lock()  # one decoding at a time: together they may not fit
        self.width = AT_ONCE  # pictures that the device's memory was found to hold

    def add(self, finished: Iterable[Finished]) -> list[Maker]:
        """Take in segments; return makers for those whose turn has come."""
        makers: list[Maker] = []
        for segment in finished:
            self.waiting.append(segment)
            if len(self.waiting) == AT_ONCE:
                makers += self.rest()
        return makers

    def rest(self) -> list[Maker]:
        """Return makers for all that wait."""
        if not self.waiting:
            return []
        names = [name_noise(self.work, done.segment) for done in self.waiting]
        call = _Call(self.denoiser, self.waiting, names, self.lock, self._warn)
        self.waiting = []
        if self.denoiser.device.type != "cuda":
            call.pixels()
        return [partial(self._make, call, place) for place in range(len(call.finished))]

    def _warn(self, width: int) -> None:
        """Warn once that the device's memory ran out."""
        if width < self.width:
            self.width = width
            log.warning(
                "The device's memory does not hold %d pictures; decoding %d at a time. Pictures "
                "may differ in their last bits from those of another run",
                AT_ONCE,
                width,
            )

    def _make(self, call: _Call, place: int) -> Picture | Preview | Unmade | None:
        finished, pixels = call.finished[place], call.pixels()[place]
        made: Picture | Preview | Exception
        if isinstance(pixels, Exception):
            made = pixels
        else:
            made = encode(self.work, self.settings, finished, pixels)
        if not isinstance(made, Exception):
            return made
        if self.work.plan.is_leaf(finished.segment):
            return Unmade(finished.segment.id, reason_of(made))
        log.warning("No preview of segment %d: %s", finished.segment.id, reason_of(made))
        return None


class _Call:
    """Segments that are decoded together, once."""

    def __init__(
        self,
        denoiser: Denoiser,
        finished: Sequence[Finished],
        names: Sequence[str],
        lock: Lock,
        warn: Callable[[int], None],
    ) -> None:
        self.denoiser, self.lock, self.warn = denoiser, lock, warn
        self.finished, self.names = finished, names
        self.decoded: Decoded | None = None

    def pixels(self) -> tuple[Pixels | Exception, ...]:
        """Return the pictures; an error where latents fail alone. Warns where memory is short."""
        with self.lock:
            if self.decoded is None:
                latents = [done.state.latents for done in self.finished]
                self.decoded = decode_each(self.denoiser, latents, self.names)
                self.warn(self.decoded.width)
            return self.decoded.pictures


def as_model_input(solver: Solver, plan: Plan, finished: Finished) -> Finished:
    """Return a split with its latents scaled as the network takes them, which can be decoded.

    Euler keeps latents in the space of sigma until the last step, where both are the same.
    """
    if plan.is_leaf(finished.segment):
        return finished
    state, step = finished.state, torch.tensor([finished.segment.stop])
    latents = solver.scale(state.latents[None], step)[0]
    return replace(finished, state=replace(state, latents=latents))


def splits_of(work: Work, finished: Iterable[Finished]) -> list[Split]:
    """Return those of some segments that end in a split, as they are stored."""
    return states_of(work, (done for done in finished if not work.plan.is_leaf(done.segment)))


def states_of(work: Work, reached: Iterable[Finished]) -> list[Split]:
    """Return states of segments as they are stored, under the segments' keys."""
    keys = work.night.keys
    return [Split(each.segment.id, keys[each.segment.id], each.state) for each in reached]


def make_picture(
    work: Work, settings: Settings, finished: Finished, pixels: npt.NDArray[np.uint8]
) -> Picture | Preview:
    """Return a leaf's picture, or a split's small one, as what is stored."""
    segment = finished.segment
    if not work.plan.is_leaf(segment):
        return preview(segment.id, pixels)
    leaf, with_prompt = work.plan.order[segment.first], settings.prompt_in_images
    return picture(work, leaf, pixels, with_prompt=with_prompt)


def encode(
    work: Work, settings: Settings, finished: Finished, pixels: Pixels
) -> Picture | Preview | Exception:
    """Return the picture as `make_picture` does, or the error where it alone cannot be encoded."""
    made = try_call(lambda: make_picture(work, settings, finished, pixels))
    if isinstance(made, Exception):
        _encode_blank(pixels)
    return made


def redraw(work: Work, settings: Settings, leaf: int, stored: bytes) -> Picture | Unmade:
    """Return a leaf's picture with the pixels of a stored one and the facts of this run."""
    with Image.open(io.BytesIO(stored), formats=("PNG",)) as image:
        pixels = np.asarray(image.convert("RGB"))
    made = try_call(lambda: picture(work, leaf, pixels, with_prompt=settings.prompt_in_images))
    if isinstance(made, Exception):
        _encode_blank(pixels)
        return Unmade(work.plan.leaf_segment(leaf).id, reason_of(made))
    return made


def _encode_blank(like: Pixels) -> None:
    """Encode a black picture; raises where nothing can be encoded on this machine."""
    Image.fromarray(np.zeros_like(like)).save(io.BytesIO(), "PNG")


def preview(segment: int, pixels: npt.NDArray[np.uint8]) -> Preview:
    """Return a split's small picture as the object to store, under the digest of its bytes."""
    small = Image.fromarray(pixels)
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    body = file.getvalue()
    key = preview_key(hashlib.sha256(body).hexdigest())
    return Preview(segment, Object(key, body, "image/webp"))
