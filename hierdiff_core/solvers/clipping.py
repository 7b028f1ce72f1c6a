"""Clipping: how a predicted x_0 is kept in range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Clipping:
    """No clipping, clipping to a range, or dynamic thresholding."""

    range: float | None = None
    quantile: float | None = None  # dynamic thresholding (Imagen, section 2.3), per row
    largest: float = 1.0

    @property
    def changes_nothing(self) -> bool:
        """Whether x_0 is left as it is."""
        return self.range is None and self.quantile is None

    def __call__(self, x0: torch.Tensor) -> torch.Tensor:
        if self.quantile is not None:
            bound = _quantile(x0.abs().flatten(1), self.quantile).clamp(1.0, self.largest)
            bound = bound.view(-1, *[1] * (x0.dim() - 1))
            return torch.clamp(x0, -bound, bound) / bound
        return x0 if self.range is None else x0.clamp(-self.range, self.range)


NO_CLIPPING = Clipping()


def read_clipping(config: Any) -> Clipping:
    """Return the clipping that a config of DDIM or DDPM asks for."""
    if config.thresholding or not config.clip_sample:
        return read_thresholding(config)
    return Clipping(range=config.clip_sample_range)


def read_thresholding(config: Any) -> Clipping:
    """Return the clipping for a class without a fixed range, whatever range its config holds."""
    if not config.thresholding:
        return NO_CLIPPING
    return Clipping(quantile=config.dynamic_thresholding_ratio, largest=config.sample_max_value)


def _quantile(rows: torch.Tensor, share: float) -> torch.Tensor:
    """Return each row's quantile, interpolated as torch.quantile does, without a full sort."""
    place = share * (rows.shape[1] - 1)
    below = int(place)
    largest = rows.topk(rows.shape[1] - below, dim=1).values
    low, high = largest[:, -1], largest[:, max(largest.shape[1] - 2, 0)]
    return torch.lerp(low, high, place - below)
