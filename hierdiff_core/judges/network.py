"""The attribute judge's network: one small convolutional net, one head for each attribute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

PIXELS = 64
FEATURES = 96
_STEM = 32
_WIDTHS = (48, 96, 128)
_CELLS = 4  # on a side of the last stage


class AttributeNetwork(nn.Module):
    """(B, 3, 64, 64) in -1 to 1 to logits for each attribute.

    The heads read the averages of the earlier stages, which measure how fine the texture is, and
    the last 4 x 4 places one by one, which show what is where.
    """

    def __init__(self, values: Sequence[int]) -> None:
        super().__init__()
        # not normalised, since contrast distinguishes a sharp picture from a blurred one
        self.stem = nn.Conv2d(3, _STEM, 5, stride=2, padding=2)
        widths = (_STEM, *_WIDTHS)
        self.stages = nn.ModuleList(map(_Stage, widths[:-1], widths[1:]))
        self.gather = nn.Linear(sum(widths[:-1]) + _CELLS**2 * widths[-1], FEATURES)
        self.heads = nn.ModuleList(nn.Linear(FEATURES, count) for count in values)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return logits, (B, values) for each attribute."""
        return self.judge(self.features(pictures))

    def features(self, pictures: Tensor) -> Tensor:
        """Return the input of the heads, (B, 96)."""
        *averages, last = self._look(pictures)
        return self.gather(torch.cat([*averages, last], dim=1))

    def judge(self, features: Tensor) -> list[Tensor]:
        """Return the logits of features."""
        active = functional.silu(features)
        return [head(active) for head in self.heads]

    def texture(self, pictures: Tensor) -> Tensor:
        """Return the averages of the two stages in the middle, (B, 144).

        They see 17 and 41 pixels across: grain, outlines and patterns, which the heads overlook.
        """
        _, fine, coarse, _ = self._look(pictures)
        return torch.cat([fine, coarse], dim=1)

    def _look(self, pictures: Tensor) -> list[Tensor]:
        """Return the averages of stem and stages, but of the last stage all places, flat."""
        here = functional.silu(self.stem(pictures))
        averages = []
        for stage in self.stages:
            averages.append(here.mean((2, 3)))
            here = stage(here)
        return [*averages, here.flatten(1)]


class _Stage(nn.Module):
    """Halve the side, then add what one more convolution sees."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.look = nn.Conv2d(after, after, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(2))

    def forward(self, here: Tensor) -> Tensor:
        halved = functional.silu(self.norms[0](self.halve(here)))
        return halved + functional.silu(self.norms[1](self.look(halved)))


def as_input(pictures: NDArray[np.uint8]) -> Tensor:
    """Turn (B, H, W, 3) bytes into (B, 3, H, W) values between -1 and 1."""
    return torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
