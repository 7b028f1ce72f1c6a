"""What sharing is predicted to cost a night's pictures, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hierdiff_core.quality import count_told_apart

_ROUNDING = 1.005  # that the search for a bound may leave it by


@dataclass(frozen=True, slots=True)
class Losses:
    """The predicted losses of a night: shares of what plain pictures miss."""

    mean: float
    told_apart: int  # pictures that are predicted to be
    images: int
    bound: float | None  # HIERDIFF_LOSS; None: a night of an earlier version

    @property
    def beyond(self) -> bool:
        """Whether the mean is beyond the bound."""
        return self.bound is not None and self.mean > self.bound * _ROUNDING


def sum_up(losses: Sequence[float | None], bound: float | None) -> Losses | None:
    """Return the losses of a night's pictures in one record; None where one is not predicted."""
    known = [loss for loss in losses if loss is not None]
    if not known or len(known) < len(losses):
        return None
    return Losses(sum(known) / len(known), count_told_apart(known), len(known), bound)


def apart_text(losses: Losses | None) -> str:
    """Return how many pictures are predicted to be told apart, as part of a headline."""
    if losses is None:
        return "quality not predicted"
    count = f"{losses.told_apart:,}" if losses.told_apart else "none"
    return f"{count} predicted to be told apart"


def loss_text(losses: Losses | None) -> str:
    """Return what a night is predicted to lose, in one line."""
    if losses is None:
        return "not predicted, the model has no calibration; look at the pictures"
    beyond = f", beyond the bound of {losses.bound:.1%}" if losses.beyond else ""
    return (
        f"predicted to lose {losses.mean:.1%} of what plain pictures miss{beyond}; "
        f"predicted to be told apart: {losses.told_apart:,} of {losses.images:,}"
    )
