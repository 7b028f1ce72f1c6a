"""A picture is the same whatever is decoded beside it, on a small device too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hierdiff_core.models.kandinsky22 import Decoder
from hierdiff_core.sampling.decode import AT_ONCE, decode_latents


@dataclass
class Small:
    """The decoder on a device that holds a few pictures, with a note of its calls."""

    denoiser: Decoder
    holds: int = 10**6
    calls: list[int] = field(default_factory=list)

    def decode(self, latents: torch.Tensor) -> npt.NDArray[np.uint8]:
        self.calls.append(len(latents))
        if len(latents) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.denoiser.decode(latents)


def latents_of(denoiser: Decoder, count: int) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(4)
    return list(torch.randn(count, *denoiser.latent_shape, generator=draws))


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 3])
def test_every_call_has_one_size_and_every_latent_its_picture(
    denoiser: Decoder, count: int
) -> None:
    small = Small(denoiser)
    pictures = decode_latents(small, latents_of(denoiser, count))  # type: ignore[arg-type]
    assert len(pictures) == count
    assert set(small.calls) <= {AT_ONCE}
    for picture in pictures:
        assert (picture.shape, picture.dtype) == ((16, 16, 3), np.uint8)


def test_a_pictures_bits_do_not_depend_on_what_ended_beside_it(denoiser: Decoder) -> None:
    latents = latents_of(denoiser, 9)
    together = decode_latents(denoiser, latents)
    for row, picture in zip(latents, together, strict=True):
        np.testing.assert_array_equal(decode_latents(denoiser, [row])[0], picture)


def test_where_the_memory_ends_pictures_are_decoded_one_by_one(denoiser: Decoder) -> None:
    latents, small = latents_of(denoiser, 6), Small(denoiser, holds=1)
    pictures = decode_latents(small, latents)  # type: ignore[arg-type]
    # Blank latents are tried at both widths before the memory is blamed.
    assert small.calls == [*[AT_ONCE] * 2, *[1] * 5, *[AT_ONCE] * 2, *[1] * 3]
    for picture, wanted in zip(pictures, decode_latents(denoiser, latents), strict=True):
        assert np.abs(picture.astype(int) - wanted).max() <= 1
