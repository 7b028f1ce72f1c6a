"""Decoding: pictures of final latents, none of which depends on the others in its call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.denoiser import Denoiser, Flagged
from hierdiff_core.sampling.isolate import by_halves, try_call

AT_ONCE = 4  # latents of every call, since rounding follows the shape of a call

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)
Row = tuple[torch.Tensor, str]  # latents and their name, see `Denoiser.decode`


@dataclass(frozen=True)
class Decoded:
    """What became of some latents, in their order."""

    pictures: tuple[Pixels | Exception, ...]  # an error where latents failed alone
    width: int  # latents that the device held at once


def decode_latents(
    denoiser: Denoiser, latents: Sequence[torch.Tensor], names: Sequence[str]
) -> list[Pixels]:
    """Return pictures (height, width, 3) of latents (*latent_shape), in calls of one size.

    Where the device's memory does not hold that many, they are decoded one by one.
    """
    pictures = list[Pixels]()
    for picture in decode_each(denoiser, latents, names).pictures:
        if isinstance(picture, Exception):
            raise picture
        pictures.append(picture)
    return pictures


def decode_each(
    denoiser: Denoiser, latents: Sequence[torch.Tensor], names: Sequence[str]
) -> Decoded:
    """Return the pictures as `decode_latents` does, or errors where latents fail alone.

    Raises a call's error where blank latents fail too.
    """
    pictures, width = list[Pixels | Exception](), AT_ONCE
    rows = list(zip(latents, names, strict=True))
    for first in range(0, len(rows), AT_ONCE):
        decoded = _decode_call(denoiser, rows[first : first + AT_ONCE])
        pictures += decoded.pictures
        width = min(width, decoded.width)
    return Decoded(tuple(pictures), width)


def _decode_call(denoiser: Denoiser, rows: Sequence[Row]) -> Decoded:
    whole = try_call(lambda: _decode(denoiser, rows, AT_ONCE))
    if not isinstance(whole, Exception):
        return Decoded(tuple(whole), AT_ONCE)
    if not _decodes_blank(denoiser, rows[0], AT_ONCE):
        narrower = isinstance(whole, torch.OutOfMemoryError)
        if not narrower or not _decodes_blank(denoiser, rows[0], 1):
            raise whole
        return Decoded(tuple(_decode_alone(denoiser, row) for row in rows), 1)
    pictures = list[Pixels | Exception]()
    for part, outcome in by_halves(rows, lambda part: _decode(denoiser, part, AT_ONCE)):
        if isinstance(outcome, Exception):  # alone, it may need a call of its own
            pictures.append(_decode_alone(denoiser, part[0]))
        else:
            pictures += outcome
    return Decoded(tuple(pictures), AT_ONCE)


def _decodes_blank(denoiser: Denoiser, like: Row, width: int) -> bool:
    blank = torch.zeros_like(like[0]), like[1]
    outcome = try_call(lambda: _decode(denoiser, [blank], width))
    return isinstance(outcome, Flagged) or not isinstance(outcome, Exception)


def _decode_alone(denoiser: Denoiser, row: Row) -> Pixels | Exception:
    outcome = try_call(lambda: _decode(denoiser, [row], 1))
    return outcome if isinstance(outcome, Exception) else outcome[0]


def _decode(denoiser: Denoiser, rows: Sequence[Row], width: int) -> list[Pixels]:
    """Return the pictures of one call, which copies of the first row fill up."""
    padded = [*rows, *[rows[0]] * (width - len(rows))]
    latents, names = zip(*padded, strict=True)
    return list(denoiser.decode(torch.stack(latents), names)[: len(rows)])
