"""Planners: from the vectors of a batch's prompts to the one plan over all of them.

A planner is a function; another way to plan is one more entry of `PLANNERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import EXACT, ClusterTree, build_tree
from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.forest import Forest, Group, key_forest
from hierdiff_core.plan import CALIBRATED, PAPER, PlannedTree, join_plans, make_plan
from hierdiff_core.prices import step_prices
from hierdiff_core.schedule import make_schedule, solve_tau

Vectors = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How a batch is planned."""

    budget: Budget = field(default_factory=Budget)
    tau: float = 0.25  # scale of the paper's thresholds, where no budget is set
    linkage: str = "average"  # of the paper's trees; chosen in benchmarks/results/evaluation.md
    exact: int = EXACT  # prompts up to which a tree, or a plan, is exact
    planner: str = "auto"  # a name of PLANNERS; auto: calibrated where every recipe's model is


# Takes groups that share nothing with each other and their vectors (N, D); returns a plan for each.
Planner = Callable[[Sequence[Group], Sequence[Vectors], PlanSettings], tuple[PlannedTree, ...]]


def plan_forest(
    groups: Sequence[Group], vectors: Sequence[Vectors], settings: PlanSettings
) -> Forest:
    """Return the forest of groups whose prompts have these vectors (N, D).

    Raises InvalidEmbedding, which names a prompt's row; InvalidSetting for an unknown planner, a
    budget that cannot be met, or a calibration that is asked for and missing.
    """
    for group, rows in zip(groups, vectors, strict=True):
        check_vectors(rows, [prompt.row for prompt in group.prompts])
    planned = _find_planner(settings.planner, groups)(groups, vectors, settings)
    plan = join_plans([each.plan for each in planned])
    return key_forest(groups, [each.tree for each in planned], plan)


def plan_by_paper(
    groups: Sequence[Group], vectors: Sequence[Vectors], settings: PlanSettings
) -> tuple[PlannedTree, ...]:
    """Return the paper's plans (Eq. 6): trees by linkage, cut by one tau for all."""
    trees = [
        build_tree(rows, settings.linkage, group.content_keys, exact=settings.exact)
        for group, rows in zip(groups, vectors, strict=True)
    ]
    recipe = groups[0].recipe
    return cut_by_tau(trees, recipe.steps, settings.budget, settings.tau, step_prices(recipe))


def cut_by_tau(
    trees: Sequence[ClusterTree],
    steps: int,
    budget: Budget,
    tau: float,
    prices: npt.NDArray[np.float64] | None = None,
) -> tuple[PlannedTree, ...]:
    """Return the plans of trees at the tau of a budget, or at `tau` where none is set."""
    if budget.is_set:
        schedule = solve_tau(trees, steps, budget, prices)
    else:
        schedule = make_schedule(steps, tau)
    return tuple(PlannedTree(make_plan(tree, schedule), tree) for tree in trees)


def plan_by_calibration(
    groups: Sequence[Group], vectors: Sequence[Vectors], settings: PlanSettings
) -> tuple[PlannedTree, ...]:
    """Return the plans of least predicted excess, at one price for all.

    Without a budget they take as many evaluations as the paper's plans at its tau.
    """
    from hierdiff_core.calibrated.calibration_file import find_calibrated_solver
    from hierdiff_core.calibrated.plans import least_evaluations, plan_points

    solvers = [find_calibrated_solver(group.recipe) for group in groups]
    for group, solver in zip(groups, solvers, strict=True):
        if solver is None:
            hint = f"{group.recipe.model} has no calibration for this guidance and size; use auto, "
            hint += "or run `hierdiff calibrate` first"
            raise InvalidSetting(setting="planner", value=settings.planner, hint=hint)
    sets = [solver.points(rows) for solver, rows in zip(solvers, vectors, strict=True) if solver]
    images, steps = sum(map(len, vectors)), groups[0].recipe.steps
    if settings.budget.is_set:
        allowed = settings.budget.require(least_evaluations(sets), images, steps)
    else:
        paper = plan_by_paper(groups, vectors, settings)
        allowed = sum(each.plan.evaluations for each in paper)
    return plan_points(sets, allowed, [group.content_keys for group in groups], settings.exact)


PLANNERS: Mapping[str, Planner] = {
    CALIBRATED: plan_by_calibration,
    PAPER: plan_by_paper,
}


def _find_planner(name: str, groups: Sequence[Group]) -> Planner:
    if name == "auto":
        name = CALIBRATED if all(map(_is_calibrated, groups)) else PAPER
    if name not in PLANNERS:
        hint = f"use one of auto, {', '.join(PLANNERS)}"
        raise InvalidSetting(setting="planner", value=name, hint=hint)
    return PLANNERS[name]


def _is_calibrated(group: Group) -> bool:
    from hierdiff_core.calibrated.calibration_file import is_calibrated

    return is_calibrated(group.recipe)
