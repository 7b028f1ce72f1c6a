"""Decoding: pictures of final latents, none of which depends on the others in its call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.denoiser import Denoiser
from hierdiff_core.sampling.isolate import by_halves, try_call

AT_ONCE = 4  # latents of every call, since rounding follows the shape of a call

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)


@dataclass(frozen=True)
class Decoded:
    """What became of some latents, in their order."""

    pictures: tuple[Pixels | Exception, ...]  # an error where latents failed alone
    width: int  # latents that the device held at once


def decode_latents(denoiser: Denoiser, latents: Sequence[torch.Tensor]) -> list[Pixels]:
    """Return pictures (height, width, 3) of latents (*latent_shape), in calls of one size.

    Where the device's memory does not hold that many, they are decoded one by one.
    """
    pictures = list[Pixels]()
    for picture in decode_each(denoiser, latents).pictures:
        if isinstance(picture, Exception):
            raise picture
        pictures.append(picture)
    return pictures


def decode_each(denoiser: Denoiser, latents: Sequence[torch.Tensor]) -> Decoded:
    """Return the pictures as `decode_latents` does, or errors where latents fail alone.

    Raises a call's error where blank latents fail too.
    """
    pictures, width = list[Pixels | Exception](), AT_ONCE
    for first in range(0, len(latents), AT_ONCE):
        decoded = _decode_call(denoiser, latents[first : first + AT_ONCE])
        pictures += decoded.pictures
        width = min(width, decoded.width)
    return Decoded(tuple(pictures), width)


def _decode_call(denoiser: Denoiser, latents: Sequence[torch.Tensor]) -> Decoded:
    whole = try_call(lambda: _decode(denoiser, latents, AT_ONCE))
    if not isinstance(whole, Exception):
        return Decoded(tuple(whole), AT_ONCE)
    if not _decodes_blank(denoiser, latents[0], AT_ONCE):
        narrower = isinstance(whole, torch.OutOfMemoryError)
        if not narrower or not _decodes_blank(denoiser, latents[0], 1):
            raise whole
        return Decoded(tuple(_decode_alone(denoiser, row) for row in latents), 1)
    pictures = list[Pixels | Exception]()
    for part, outcome in by_halves(latents, lambda rows: _decode(denoiser, rows, AT_ONCE)):
        if isinstance(outcome, Exception):  # alone, it may need a call of its own
            pictures.append(_decode_alone(denoiser, part[0]))
        else:
            pictures += outcome
    return Decoded(tuple(pictures), AT_ONCE)


def _decodes_blank(denoiser: Denoiser, like: torch.Tensor, width: int) -> bool:
    blank = torch.zeros_like(like)
    return not isinstance(try_call(lambda: _decode(denoiser, [blank], width)), Exception)


def _decode_alone(denoiser: Denoiser, latents: torch.Tensor) -> Pixels | Exception:
    outcome = try_call(lambda: _decode(denoiser, [latents], 1))
    return outcome if isinstance(outcome, Exception) else outcome[0]


def _decode(denoiser: Denoiser, latents: Sequence[torch.Tensor], width: int) -> list[Pixels]:
    """Return the pictures of one call, which copies of the first latents fill up."""
    rows = torch.stack(list(latents))
    padding = rows[:1].expand(width - len(rows), *rows.shape[1:])
    return list(denoiser.decode(torch.cat([rows, padding]))[: len(rows)])
