"""Ways to plan that only the paper's tables ask for: blind sharing, and a logarithmic phi."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.methods import Method, PromptGroup, linked
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.plan import Plan, join_plans, make_plan
from hierdiff_core.schedule import Schedule, evaluations


def _random(groups: Sequence[PromptGroup], setting: Setting) -> Plan:
    """Return Ward's tree over vectors that know nothing of the prompts: the paper's Table 2."""
    rng = np.random.default_rng(0)
    blind = [PromptGroup(rng.standard_normal(group.vectors.shape), group.keys) for group in groups]
    return linked("ward", blind, setting)


def _logarithmic(groups: Sequence[PromptGroup], setting: Setting) -> Plan:
    trees = [build_tree(group.vectors, "ward", group.keys) for group in groups]
    if setting.saving is None:
        schedule: Schedule = LogarithmicSchedule(setting.steps, setting.tau or 0.0)
    else:
        schedule = solve_logarithmic(trees, setting.steps, setting.saving)
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


METHODS: Mapping[str, Method] = {"random": _random, "ward-log": _logarithmic}
