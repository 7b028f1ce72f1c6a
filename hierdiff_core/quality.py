"""Quality: what sharing is predicted to cost pictures, on average and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hierdiff_core.forest import Forest
from hierdiff_core.prompt import Prompt

# A picture whose loss is above this is predicted to be told apart from a plain one by a judge: so
# many are on the miniature's development sets (`python -m benchmarks risk`).
TOLD_APART = 1.0


@dataclass(frozen=True, slots=True)
class Quality:
    """Predicted losses: the excess of pictures, as a share of what plain ones miss."""

    mean: float
    told_apart: int  # pictures that are predicted to be
    worst: tuple[tuple[Prompt, float], ...]  # the pictures that lose most, the worst first


def predict_quality(forest: Forest, worst: int = 5) -> Quality | None:
    """Return the quality of a planned night, or None where its models have no calibration."""
    if forest.losses is None or np.isnan(forest.losses).any():
        return None
    prompts = [prompt for group in forest.groups for prompt in group.prompts]
    order = np.argsort(-forest.losses, kind="stable")[:worst].tolist()
    losing = [(prompts[leaf], float(forest.losses[leaf])) for leaf in order]
    shown = tuple(each for each in losing if each[1] > 0)
    return Quality(float(forest.losses.mean()), count_told_apart(forest.losses.tolist()), shown)


def count_told_apart(losses: Sequence[float]) -> int:
    """Return how many pictures of these losses are predicted to be told apart."""
    return sum(loss > TOLD_APART for loss in losses)
