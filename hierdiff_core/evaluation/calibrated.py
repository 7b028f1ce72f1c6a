"""The method of a calibrated model: plans of least excess.

Knows calibrations, noise schedules and budgets; knows nothing of networks or of where calibrations
are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hierdiff_core.budget import Budget
from hierdiff_core.calibrated.calibrated_solver import calibrate_solver
from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.plans import plan_points
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.methods import Group, Method
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.plan import CALIBRATED, Plan, join_plans


def calibrated_methods(
    find: Callable[[str], Calibration | None], schedule: Mapping[str, Any]
) -> Mapping[str, Method]:
    """Return the method by its name; `find` gives the calibration that holds for a solver."""

    def plan(groups: Sequence[Group], setting: Setting) -> Plan:
        calibration = find(setting.solver)
        if calibration is None:
            hint = "the model is not calibrated for this solver; run `hierdiff calibrate` first"
            raise InvalidSetting(setting="method", value=setting.method, hint=hint)
        if setting.saving is None:
            hint = "a calibrated plan is asked for by its saving"
            raise InvalidSetting(setting="tau", value=setting.tau, hint=hint)
        solver = calibrate_solver(calibration, schedule, setting.solver, setting.steps)
        sets = [solver.points(group.vectors) for group in groups]
        leaves = sum(len(group.keys) for group in groups)
        evaluations = Budget(setting.saving).evaluations(leaves, setting.steps)
        grown = plan_points(sets, evaluations, [group.keys for group in groups])
        return join_plans([each.plan for each in grown])

    return {CALIBRATED: plan}
