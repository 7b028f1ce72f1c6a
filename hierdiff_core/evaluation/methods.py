"""Methods: how prompts come to share steps, each a function from embeddings to a plan.

Knows trees, schedules and budgets; knows nothing of networks. Another way to plan is one more
entry of `METHODS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from hierdiff_core.budget import Budget
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.setting import STANDARD, Setting
from hierdiff_core.plan import Plan, Segment, join_plans, make_plan
from hierdiff_core.schedule import Schedule, evaluations, make_schedule, solve_tau

Vectors = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Group:
    """Prompts that may share steps: embeddings (N, D) and content keys, in one order."""

    vectors: Vectors
    keys: Sequence[str]


# Groups and a setting in, one plan over all their leaves out, numbered on group by group.
Method = Callable[[Sequence[Group], Setting], Plan]


def make_setting_plan(
    groups: Sequence[Group], setting: Setting, more: Mapping[str, Method] | None = None
) -> Plan:
    """Return the plan of a setting over one or more groups that share nothing with each other.

    `more` are methods that belong to the model, such as its calibration's. Raises InvalidSetting
    for an unknown method, or a saving that the groups cannot reach.
    """
    methods = {**METHODS, **(more or {})}
    if setting.method not in methods:
        hint = f"use one of {', '.join(methods)}"
        raise InvalidSetting(setting="method", value=setting.method, hint=hint)
    return methods[setting.method](groups, setting)


def _standard(groups: Sequence[Group], setting: Setting) -> Plan:
    size, steps = sum(len(group.keys) for group in groups), setting.steps
    segments = tuple(Segment(each, each, 0, steps, None, each, each + 1) for each in range(size))
    return Plan(steps, tuple(range(size)), segments, STANDARD)


def _linked(linkage: str, groups: Sequence[Group], setting: Setting) -> Plan:
    return _cut([build_tree(group.vectors, linkage, group.keys) for group in groups], setting)


def _random(groups: Sequence[Group], setting: Setting) -> Plan:
    """Return Ward's tree over vectors that know nothing of the prompts: the paper's Table 2."""
    rng = np.random.default_rng(0)
    blind = [Group(rng.standard_normal(group.vectors.shape), group.keys) for group in groups]
    return _linked("ward", blind, setting)


def _logarithmic(groups: Sequence[Group], setting: Setting) -> Plan:
    trees = [build_tree(group.vectors, "ward", group.keys) for group in groups]
    if setting.saving is None:
        schedule: Schedule = LogarithmicSchedule(setting.steps, setting.tau or 0.0)
    else:
        schedule = solve_logarithmic(trees, setting.steps, setting.saving)
    return join_plans([make_plan(tree, schedule) for tree in trees])


def _cut(trees: Sequence[ClusterTree], setting: Setting) -> Plan:
    if setting.saving is None:
        schedule = make_schedule(setting.steps, setting.tau or 0.0)
    else:
        schedule = solve_tau(trees, setting.steps, Budget(saving=setting.saving))
    return join_plans([make_plan(tree, schedule) for tree in trees])


@dataclass(frozen=True, slots=True)
class LogarithmicSchedule(Schedule):
    """Thresholds that fall with the logarithm of the step: prompts part early, then slowly."""

    def phi(self) -> npt.NDArray[np.float64]:
        """Return phi(k) = tau (1 - log k / log K) for k = 1..K, shape (K,)."""
        k = np.arange(1, self.steps + 1)
        return self.tau * (1 - np.log(k) / max(math.log(self.steps), 1e-12))


def solve_logarithmic(
    trees: Sequence[ClusterTree], steps: int, saving: float
) -> LogarithmicSchedule:
    """Return the logarithmic schedule that saves what is asked, by bisection (cost falls with tau).

    Raises InvalidSetting where it cannot be saved.
    """
    standard = sum(tree.size for tree in trees) * steps
    wanted = standard - math.ceil(saving * standard - 1e-9)
    below, above = 0.0, 1.0
    while evaluations(trees, LogarithmicSchedule(steps, above)) > wanted:
        below, above = above, above * 2
        if above > 2**60:
            hint = "this set cannot save so much in so few steps"
            raise InvalidSetting(setting="saving", value=saving, hint=hint)
    for _ in range(60):
        middle = (below + above) / 2
        enough = evaluations(trees, LogarithmicSchedule(steps, middle)) <= wanted
        below, above = (below, middle) if enough else (middle, above)
    return LogarithmicSchedule(steps, above)


METHODS: Mapping[str, Method] = {
    STANDARD: _standard,
    "ward": partial(_linked, "ward"),
    "average": partial(_linked, "average"),
    "centroid": partial(_linked, "centroid"),
    "random": _random,
    "ward-log": _logarithmic,
}
