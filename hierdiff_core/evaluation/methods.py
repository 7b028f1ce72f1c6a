"""Methods: how prompts come to share steps, each a function from embeddings to a plan.

Another way to plan is one more entry of `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from hierdiff_core.budget import Budget
from hierdiff_core.calibrated.calibrated_solver import calibrate_solver
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.plans import plan_points
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.setting import STANDARD, Setting
from hierdiff_core.plan import CALIBRATED, Plan, Segment, join_plans
from hierdiff_core.planners import cut_by_tau
from hierdiff_core.solver import NoiseSchedule

Vectors = npt.NDArray[np.floating]


@dataclass(frozen=True)
class PromptGroup:
    """Prompts that may share steps: embeddings (N, D) and content keys, in one order."""

    vectors: Vectors
    keys: Sequence[str]


# Takes groups and a setting; returns one plan over all their leaves, numbered group by group.
Method = Callable[[Sequence[PromptGroup], Setting], Plan]


def make_setting_plan(
    groups: Sequence[PromptGroup], setting: Setting, more: Mapping[str, Method] | None = None
) -> Plan:
    """Return the plan of a setting over one or more groups that share nothing with each other.

    `more` are methods that not every model has, such as calibrated plans. Raises InvalidSetting for
    an unknown method, or a saving that the groups cannot reach.
    """
    methods = {**METHODS, **(more or {})}
    if setting.method not in methods:
        hint = f"use one of {', '.join(methods)}"
        raise InvalidSetting(setting="method", value=setting.method, hint=hint)
    return methods[setting.method](groups, setting)


def _standard(groups: Sequence[PromptGroup], setting: Setting) -> Plan:
    size, steps = sum(len(group.keys) for group in groups), setting.evaluations
    segments = tuple(Segment(each, each, 0, steps, None, each, each + 1) for each in range(size))
    return Plan(steps, tuple(range(size)), segments, STANDARD)


def linked(linkage: str, groups: Sequence[PromptGroup], setting: Setting) -> Plan:
    """Return the paper's plan of a tree of this linkage."""
    trees = [build_tree(group.vectors, linkage, group.keys) for group in groups]
    cut = cut_by_tau(trees, setting.evaluations, Budget(setting.saving), setting.tau or 0.0)
    return join_plans([each.plan for each in cut])


METHODS: Mapping[str, Method] = {
    STANDARD: _standard,
    "ward": partial(linked, "ward"),
    "average": partial(linked, "average"),
    "centroid": partial(linked, "centroid"),
}


def calibrated_methods(
    find: Callable[[str], Calibration | None], schedule: NoiseSchedule
) -> Mapping[str, Method]:
    """Return the method of a calibrated model, plans of least excess, by its name.

    `find` returns the calibration for a solver.
    """

    def plan(groups: Sequence[PromptGroup], setting: Setting) -> Plan:
        calibration = find(setting.solver)
        if calibration is None:
            hint = "the model is not calibrated for this solver; run `hierdiff calibrate` first"
            raise InvalidSetting(setting="method", value=setting.method, hint=hint)
        if setting.saving is None:
            hint = "a calibrated plan needs a saving, not a tau"
            raise InvalidSetting(setting="tau", value=setting.tau, hint=hint)
        solver = calibrate_solver(calibration, schedule, setting.solver, setting.steps)
        sets = [solver.points(group.vectors) for group in groups]
        leaves = sum(len(group.keys) for group in groups)
        evaluations = Budget(setting.saving).evaluations(leaves, setting.evaluations)
        grown = plan_points(sets, evaluations, [group.keys for group in groups])
        return join_plans([each.plan for each in grown])

    return {CALIBRATED: plan}
