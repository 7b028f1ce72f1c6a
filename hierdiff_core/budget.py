"""Budgets: how many evaluations a plan may take, as a saving or as steps per image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hierdiff_core.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class Budget:
    """A saving or a mean of steps per image; with neither, no budget is set.

    Raises InvalidSetting for both at once and for numbers that no plan can meet.
    """

    saving: float | None = None  # share of the N K evaluations to save, 0 to below 1
    steps_per_image: float | None = None  # mean evaluations per image, above 0 to K

    def __post_init__(self) -> None:
        if self.saving is not None and self.steps_per_image is not None:
            hint = "ask for either a saving or steps per image"
            raise InvalidSetting(setting="saving", value=self.saving, hint=hint)
        if self.saving is not None and not 0 <= self.saving < 1:
            raise InvalidSetting(setting="saving", value=self.saving, hint="use 0 to below 1")
        if self.steps_per_image is not None and not 0 < self.steps_per_image < math.inf:
            hint = "use a number above 0"
            raise InvalidSetting(setting="steps_per_image", value=self.steps_per_image, hint=hint)

    @property
    def is_set(self) -> bool:
        """Whether a budget is asked for."""
        return self.saving is not None or self.steps_per_image is not None

    def evaluations(self, images: int, steps: int) -> int:
        """Return the evaluations that N images of K steps may take together, rounded down.

        Raises InvalidSetting where no budget is set or more than K steps per image are asked for.
        """
        if not self.is_set:
            hint = "ask for either a saving or steps per image"
            raise InvalidSetting(setting="saving", value=None, hint=hint)
        if self.steps_per_image is not None and self.steps_per_image > steps:
            raise InvalidSetting(
                setting="steps_per_image",
                value=self.steps_per_image,
                hint=f"use above 0 to {steps}",
            )
        mean = (1 - (self.saving or 0.0)) * steps
        mean = mean if self.steps_per_image is None else self.steps_per_image
        # The excess makes up for rounding, which could otherwise cost an evaluation.
        return math.floor(mean * images + 1e-6)

    def require(self, least: int, images: int, steps: int) -> int:
        """Return the evaluations allowed; raises InvalidSetting where they are below `least`.

        The error states the limit in the unit of the budget.
        """
        allowed = self.evaluations(images, steps)
        if allowed >= least:
            return allowed
        if self.saving is not None:
            hint = f"this batch can save at most {largest_saving(least, images, steps)}"
            raise InvalidSetting(setting="saving", value=self.saving, hint=hint)
        mean = math.ceil(least / images * 1e3 - 1e-9) / 1e3
        hint = f"this batch needs at least {mean}"
        raise InvalidSetting(setting="steps_per_image", value=self.steps_per_image, hint=hint)


def largest_saving(least: int, images: int, steps: int) -> float:
    """Return the saving at which N images of K steps take `least` evaluations, rounded down."""
    return math.floor((1 - least / (images * steps)) * 1e4 + 1e-9) / 1e4
