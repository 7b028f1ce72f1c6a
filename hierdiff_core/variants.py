"""Variants in a night from nothing: texts are planned, each once, and then their pictures part.

Every variant takes its steps from m to K alone, so of a budget the texts get what these leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hierdiff_core.budget import Budget
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.forest import Group
from hierdiff_core.parting import part, steps_shared
from hierdiff_core.plan import Plan

if TYPE_CHECKING:
    from hierdiff_core.planners import Planner, PlanSettings

_TRIES = 8  # plans of which the best within the budget is taken


def plan_variants(
    groups: Sequence[Group],
    vectors: Sequence[npt.NDArray[np.floating]],
    settings: PlanSettings,
    planner: Planner,
) -> tuple[Plan, ...]:
    """Return the plan of each group, whose leaves have these vectors (N, D).

    Raises InvalidSetting for a budget that cannot be met.
    """
    texts = [group.texts for group in groups]
    rows = [
        embedded[[each.steering for each in group.siblings]]
        for group, embedded in zip(groups, vectors, strict=True)
    ]

    def plan(budget: Budget) -> tuple[Plan, ...]:
        planned = planner.plan(texts, rows, replace(settings, budget=budget))
        return tuple(
            part(each.plan, group.siblings, steps_shared(settings.shared, each.plan.steps))
            for group, each in zip(groups, planned, strict=True)
        )

    return _plan_within(groups, settings, plan) if settings.budget.is_set else plan(Budget())


def _plan_within(
    groups: Sequence[Group], settings: PlanSettings, plan: Callable[[Budget], tuple[Plan, ...]]
) -> tuple[Plan, ...]:
    """Return the most expensive plan found whose pictures take no more than the budget.

    What a text takes after m is spent on its first picture, and on nothing where that is not
    wanted: only then does it take more than one try.
    """
    steps = groups[0].recipe.evaluations
    siblings = [each for group in groups for each in group.siblings]
    lone = [each for each in siblings if each.first is None]
    variants = sum(len(each.variants) for each in siblings)
    allowed = settings.budget.evaluations(len(siblings) - len(lone) + variants, steps)
    alone = (variants - len(lone)) * (steps - steps_shared(settings.shared, steps))
    best, most = tuple[Plan, ...](), -1
    given = min(allowed - alone, len(siblings) * steps)
    for _ in range(_TRIES if lone else 1):
        planned = _try(plan, given / len(siblings))
        spent = sum(each.evaluations for each in planned)
        if planned and most < spent <= allowed:
            best, most = planned, spent
        if not planned or spent == allowed:
            break
        given = min(given + allowed - spent, len(siblings) * steps)
    if not best:
        raise _refuse(settings)
    return best


def _try(plan: Callable[[Budget], tuple[Plan, ...]], per_text: float) -> tuple[Plan, ...]:
    """Return the plans; none where the texts alone take more."""
    if per_text <= 0:
        return ()
    try:
        return plan(Budget(steps_per_image=per_text))
    except InvalidSetting as refusal:
        if refusal.facts["setting"] != "steps_per_image":
            raise
        return ()


def _refuse(settings: PlanSettings) -> InvalidSetting:
    name = "steps_per_image" if settings.budget.saving is None else "saving"
    hint = f"variants share at most {settings.shared:.0%} of their steps; ask for a smaller saving"
    return InvalidSetting(setting=name, value=getattr(settings.budget, name), hint=hint)
