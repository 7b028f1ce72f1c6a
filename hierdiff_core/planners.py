"""Planners: from the vectors of a batch's prompts to the one plan over all of them.

A planner is a function; another way to plan is one more entry of `PLANNERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hierdiff_core.branching import make_branches
from hierdiff_core.budget import Budget, largest_saving
from hierdiff_core.clustering.tree import EXACT, ClusterTree, build_tree
from hierdiff_core.clustering.vectors import check_vectors
from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.forest import Forest, Group, key_forest, key_grafted
from hierdiff_core.grafting import Branch, graft
from hierdiff_core.plan import CALIBRATED, PAPER, Plan, PlannedTree, make_plan
from hierdiff_core.prices import step_prices
from hierdiff_core.schedule import least_evaluations, make_schedule, solve_tau
from hierdiff_core.standing import Founder, Founders, StandingForest
from hierdiff_core.variants import plan_variants

if TYPE_CHECKING:
    from hierdiff_core.calibrated.calibrated_solver import CalibratedSolver
    from hierdiff_core.joining import Gains

Vectors = npt.NDArray[np.floating]

LOSS = 0.05
# Saved by the paper's tree where nothing else is asked for: the largest measured saving at which
# the mean score over the development sets did not fall (docs/sharing.md).
SHARE = 0.1


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How a batch is planned."""

    budget: Budget = field(default_factory=Budget)
    # Scale of the paper's thresholds, where no budget is set; None: what saves SHARE.
    tau: float | None = None
    linkage: str = "average"  # of the paper's trees; chosen in benchmarks/results/evaluation.md
    exact: int = EXACT  # prompts up to which a tree, or a plan, is exact
    planner: str = "auto"  # a name of PLANNERS; auto: calibrated where every recipe's model is
    joins: bool = True  # whether new prompts may go on from splits of earlier nights
    # Excess that a calibrated plan may add on average where no budget is set, as a share of what
    # plain pictures miss.
    loss: float = LOSS
    shared: float = 0.5  # share of its steps up to which a variant may share them


@dataclass(frozen=True, eq=False)
class Stand:
    """What a group's prompts stand on."""

    forest: StandingForest
    founders: Founders  # of the forest
    kept: Mapping[int, int]  # leaves whose picture is stored or coming, and its segment
    new: tuple[int, ...]  # all other leaves
    vectors: Vectors  # (M, D) of the new ones

    def rows(self, guests: Sequence[Founder]) -> Vectors:
        """Return the vectors of all leaves, then of guests, NaN where not known."""
        forest = self.forest
        steering = [forest.prompts[forest.founders[end][0]] for end in self.kept.values()]
        found = self.founders.vectors([*steering, *guests])
        rows = np.concatenate([each for each in (self.vectors, found) if len(each)])
        leaves = np.argsort([*self.new, *self.kept])
        return rows[[*leaves, *range(len(leaves), len(rows))]]


@dataclass(frozen=True)
class Planner:
    """A way to decide which prompts share which steps."""

    # Takes groups that share nothing with each other and their vectors (N, D).
    plan: Callable[[Sequence[Group], Sequence[Vectors], PlanSettings], tuple[PlannedTree, ...]]
    # Plans a group's new prompts at the threshold or price of a plan.
    branch: Callable[[Group, Stand, PlanSettings, Plan], tuple[Branch, ...]]


def plan_forest(
    groups: Sequence[Group], vectors: Sequence[Vectors], settings: PlanSettings
) -> Forest:
    """Return the forest of groups whose prompts have these vectors (N, D).

    Raises InvalidEmbedding, which names a prompt's row; InvalidSetting for an unknown planner, a
    budget that cannot be met, or a calibration that is asked for and missing.
    """
    for group, rows in zip(groups, vectors, strict=True):
        check_vectors(rows, [prompt.row for prompt in group.prompts])
    planner = PLANNERS[find_planner(settings.planner, groups)]
    trees: tuple[ClusterTree, ...] = ()
    if any(group.has_variants for group in groups):
        plans = plan_variants(groups, vectors, settings, planner)
    else:
        planned = planner.plan(groups, vectors, settings)
        plans, trees = tuple(each.plan for each in planned), tuple(each.tree for each in planned)
    losses = [
        _losses(group, each, partial(np.asarray, rows))
        for group, each, rows in zip(groups, plans, vectors, strict=True)
    ]
    return key_forest(groups, plans, trees, np.concatenate(losses))


def extend_forest(
    groups: Sequence[Group], standing: Sequence[Stand], settings: PlanSettings, like: Plan
) -> Forest:
    """Return the forest of groups, each standing on what earlier nights have made of it.

    Prompts whose picture is stored, or is being made by a night under way, keep it. All others are
    planned at the threshold or price of `like`: they share steps with each other, and go on from a
    stored split where that gains more. Raises InvalidEmbedding, which names a prompt's row, and
    InvalidSetting for a calibration that is missing.
    """
    grafted, losses = [], []
    for group, stand in zip(groups, standing, strict=True):
        rows = [group.prompts[leaf].row for leaf in stand.new]
        check_vectors(stand.vectors, rows)
        branches = PLANNERS[like.planner].branch(group, stand, settings, like) if rows else ()
        grafted.append(graft(stand.forest, group.content_keys, stand.kept, branches, like))
        read = partial(stand.rows, grafted[-1].guests)
        losses.append(_losses(group, grafted[-1].plan, read))
    return key_grafted(groups, grafted, np.concatenate(losses))


def plan_by_paper(
    groups: Sequence[Group], vectors: Sequence[Vectors], settings: PlanSettings
) -> tuple[PlannedTree, ...]:
    """Return the paper's plans (Eq. 6): trees by linkage, cut by one tau for all."""
    trees = [
        build_tree(rows, settings.linkage, group.content_keys, exact=settings.exact)
        for group, rows in zip(groups, vectors, strict=True)
    ]
    recipe, budget = groups[0].recipe, settings.budget
    steps, prices = recipe.evaluations, step_prices(recipe)
    if not budget.is_set and settings.tau is None:
        images, least = sum(map(len, vectors)), least_evaluations(trees, steps, prices)
        budget = Budget(saving=min(SHARE, largest_saving(least, images, steps)))
    return cut_by_tau(trees, steps, budget, settings.tau or 0.0, prices)


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


def branch_by_paper(
    group: Group, stand: Stand, settings: PlanSettings, like: Plan
) -> tuple[Branch, ...]:
    """Return the branches of new prompts by the thresholds of the paper's plan `like`."""
    from hierdiff_core.joining import gains_by_thresholds

    linkage, schedule = like.linkage or settings.linkage, make_schedule(like.steps, like.tau or 0.0)

    def plan(rows: Vectors, keys: Sequence[str]) -> Plan:
        return make_plan(build_tree(rows, linkage, keys, exact=settings.exact), schedule)

    def find_gains() -> Gains:
        return gains_by_thresholds(stand.vectors, stand.forest, stand.founders, schedule, linkage)

    return make_branches(group, stand, settings, find_gains, plan)


def branch_by_calibration(
    group: Group, stand: Stand, settings: PlanSettings, like: Plan
) -> tuple[Branch, ...]:
    """Return the branches of new prompts at the price of the calibrated plan `like`."""
    from hierdiff_core.calibrated.plans import plan_at_price
    from hierdiff_core.joining import gains_by_price

    solver, price = _calibrated_solver(group, settings), like.price or 0.0

    def plan(rows: Vectors, keys: Sequence[str]) -> Plan:
        return plan_at_price(solver.points(rows), price, keys, settings.exact).plan

    def find_gains() -> Gains:
        return gains_by_price(stand.vectors, stand.forest, stand.founders, solver, price)

    return make_branches(group, stand, settings, find_gains, plan)


def plan_by_calibration(
    groups: Sequence[Group], vectors: Sequence[Vectors], settings: PlanSettings
) -> tuple[PlannedTree, ...]:
    """Return the plans of least predicted excess, at one price for all.

    Without a budget they are the cheapest whose predicted loss is within its bound.
    """
    from hierdiff_core.calibrated.plans import least_evaluations, plan_points, plan_within

    solvers = [_calibrated_solver(group, settings) for group in groups]
    sets = [solver.points(rows) for solver, rows in zip(solvers, vectors, strict=True)]
    keys, steps = [group.content_keys for group in groups], groups[0].recipe.evaluations
    if settings.budget.is_set:
        images = sum(map(len, vectors))
        allowed = settings.budget.require(least_evaluations(sets), images, steps)
        return plan_points(sets, allowed, keys, settings.exact)
    missed = sum(
        len(rows) * solver.calibration.misfit(steps)
        for solver, rows in zip(solvers, vectors, strict=True)
    )
    return plan_within(sets, settings.loss * missed, keys, settings.exact)


PLANNERS: Mapping[str, Planner] = {
    CALIBRATED: Planner(plan_by_calibration, branch_by_calibration),
    PAPER: Planner(plan_by_paper, branch_by_paper),
}


def find_planner(name: str, groups: Sequence[Group]) -> str:
    """Return the name of the planner that groups are planned by; raises InvalidSetting."""
    if name == "auto":
        name = CALIBRATED if all(map(_is_calibrated, groups)) else PAPER
    if name not in PLANNERS:
        hint = f"use one of auto, {', '.join(PLANNERS)}"
        raise InvalidSetting(setting="planner", value=name, hint=hint)
    return name


def _calibrated_solver(group: Group, settings: PlanSettings) -> CalibratedSolver:
    from hierdiff_core.calibrated.calibration_file import find_calibrated_solver

    solver = find_calibrated_solver(group.recipe)
    if solver is None:
        hint = f"{group.recipe.model} has no calibration for this guidance and size; use auto, "
        hint += "or run `hierdiff calibrate` first"
        raise InvalidSetting(setting="planner", value=settings.planner, hint=hint)
    return solver


def _losses(group: Group, plan: Plan, read: Callable[[], Vectors]) -> npt.NDArray[np.float64]:
    """Return the predicted loss of each picture, (N,), NaN where nothing predicts it.

    A loss is the excess as a share of what plain pictures miss. The vectors that are read are those
    of the leaves, then of founders that want no picture.
    """
    from hierdiff_core.calibrated.calibration_file import find_calibrated_solver
    from hierdiff_core.calibrated.plans import leaf_excess

    try:
        solver = find_calibrated_solver(group.recipe)
    except UnknownModel:  # a plan by the paper's planner needs no model at hand
        solver = None
    if solver is None:
        return np.full(plan.size, np.nan)
    return leaf_excess(plan, solver.points(read())) / solver.calibration.misfit(plan.steps)


def _is_calibrated(group: Group) -> bool:
    from hierdiff_core.calibrated.calibration_file import is_calibrated

    return is_calibrated(group.recipe)
