"""A picture is the same whatever is decoded beside it, on a small device too."""

from __future__ import annotations

from collections.abc import Sequence
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
    named: list[dict[str, torch.Tensor]] = field(default_factory=list)  # latents by name, a call

    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        self.calls.append(len(latents))
        self.named.append(dict(zip(names, latents, strict=True)))
        if len(latents) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.denoiser.decode(latents, names)


def latents_of(denoiser: Decoder, count: int) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(4)
    return list(torch.randn(count, *denoiser.latent_shape, generator=draws))


def names_of(count: int) -> list[str]:
    return [str(each) for each in range(count)]


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 3])
def test_every_call_has_one_size_and_every_latent_its_picture(
    denoiser: Decoder, count: int
) -> None:
    small = Small(denoiser)
    latents, names = latents_of(denoiser, count), names_of(count)
    pictures = decode_latents(small, latents, names)  # type: ignore[arg-type]
    assert len(pictures) == count
    assert set(small.calls) <= {AT_ONCE}
    assert sum(map(len, small.named)) == count  # those that fill up a call have the first's name
    for name, row in zip(names, latents, strict=True):
        assert any(torch.equal(each[name], row) for each in small.named if name in each)
    for picture in pictures:
        assert (picture.shape, picture.dtype) == ((16, 16, 3), np.uint8)


def test_a_pictures_bits_do_not_depend_on_what_ended_beside_it(denoiser: Decoder) -> None:
    latents = latents_of(denoiser, 9)
    together = decode_latents(denoiser, latents, names_of(9))
    for row, name, picture in zip(latents, names_of(9), together, strict=True):
        np.testing.assert_array_equal(decode_latents(denoiser, [row], [name])[0], picture)


def test_where_the_memory_ends_pictures_are_decoded_one_by_one(denoiser: Decoder) -> None:
    latents, small = latents_of(denoiser, 6), Small(denoiser, holds=1)
    pictures = decode_latents(small, latents, names_of(6))  # type: ignore[arg-type]
    # Blank latents are tried at both widths before the memory is blamed.
    assert small.calls == [*[AT_ONCE] * 2, *[1] * 5, *[AT_ONCE] * 2, *[1] * 3]
    assert [list(each) for each in small.named[3:7]] == [["0"], ["1"], ["2"], ["3"]]
    together = decode_latents(denoiser, latents, names_of(6))
    for picture, wanted in zip(pictures, together, strict=True):
        assert np.abs(picture.astype(int) - wanted).max() <= 1
