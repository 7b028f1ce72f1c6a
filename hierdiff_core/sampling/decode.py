"""Decoding: pictures of final latents, none of which depends on the others in its call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from hierdiff_core.denoiser import Denoiser

AT_ONCE = 4  # latents of every call, since rounding follows the shape of a call


def decode_latents(
    denoiser: Denoiser, latents: Sequence[torch.Tensor]
) -> list[npt.NDArray[np.uint8]]:
    """Return pictures (height, width, 3) of latents (*latent_shape), in calls of one size.

    Where the device's memory does not hold that many, they are decoded one by one.
    """
    pictures: list[npt.NDArray[np.uint8]] = []
    for first in range(0, len(latents), AT_ONCE):
        call = torch.stack(list(latents[first : first + AT_ONCE]))
        padding = call[:1].expand(AT_ONCE - len(call), *call.shape[1:])
        try:
            pictures += list(denoiser.decode(torch.cat([call, padding]))[: len(call)])
            continue
        except torch.OutOfMemoryError:
            pass  # retried outside the handler, whose traceback keeps the failed call's memory
        pictures += [denoiser.decode(row[None])[0] for row in call]
    return pictures
