"""The forest of a batch whose model is calibrated: every group's plan of least excess.

Knows groups, calibrations and budgets; knows nothing of where calibrations or embeddings are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.levels import Levels, noise_levels
from hierdiff_core.calibrated.plans import plan_points
from hierdiff_core.clustering.tree import EXACT
from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.embedding import Conditioning, flatten, stack
from hierdiff_core.forest import Forest, Group, key_forest
from hierdiff_core.plan import join_plans
from hierdiff_core.solver import make_solver


@dataclass(frozen=True, eq=False)
class Asked:
    """What a group's plan is made by."""

    calibration: Calibration
    levels: Levels  # (K,) of its solver's steps


def ask(calibration: Calibration, schedule: Mapping[str, Any], solver: str, steps: int) -> Asked:
    """Return what plans of K steps of a solver are made by, on a model's noise schedule."""
    return Asked(
        calibration, noise_levels(schedule, make_solver(solver, schedule, steps).timesteps)
    )


def plan_calibrated_forest(
    groups: Sequence[Group],
    embeddings: Mapping[str, Conditioning],
    asked: Sequence[Asked],
    evaluations: int,
    exact: int = EXACT,
) -> Forest:
    """Return the forest of least predicted excess within so many evaluations, at one price for all.

    Embeddings are found by content key; a group of more than `exact` prompts is planned in
    regions. Raises InvalidEmbedding, naming the prompt's row, and
    InvalidSetting for a budget that cannot be met.
    """
    sets = []
    for group, each in zip(groups, asked, strict=True):
        vectors = flatten(stack([embeddings[key] for key in group.content_keys]))
        check_vectors(vectors, [prompt.row for prompt in group.prompts])
        sets.append(each.calibration.points(vectors, each.levels))
    grown = plan_points(sets, evaluations, [group.content_keys for group in groups], exact)
    trees = tuple(each.tree for each in grown)
    return key_forest(groups, trees, join_plans([each.plan for each in grown]))
