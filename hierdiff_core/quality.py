"""Quality: what sharing is predicted to cost pictures, on average and one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hierdiff_core.forest import Forest
from hierdiff_core.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Quality:
    """Predicted losses: the excess of pictures, as a share of what plain ones miss."""

    mean: float
    worst: tuple[tuple[Prompt, float], ...]  # the pictures that lose most, the worst first


def predict_quality(forest: Forest, worst: int = 5) -> Quality | None:
    """Return the quality of a planned night, or None where its models have no calibration."""
    if forest.losses is None or np.isnan(forest.losses).any():
        return None
    prompts = [prompt for group in forest.groups for prompt in group.prompts]
    order = np.argsort(-forest.losses, kind="stable")[:worst].tolist()
    losing = [(prompts[leaf], float(forest.losses[leaf])) for leaf in order]
    return Quality(float(forest.losses.mean()), tuple(each for each in losing if each[1] > 0))
