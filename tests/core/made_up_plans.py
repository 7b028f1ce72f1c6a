"""Made-up results of plans, whose scores follow from what they cost and how they are planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.unit import Outcome, Trial, Unit
from hierdiff_core.plan import CALIBRATED

NOTHING = np.zeros((0, 4, 4, 3), np.uint8)
Figure = Callable[[Setting], float]


def cost(setting: Setting) -> float:
    """Return evaluations per image."""
    return setting.steps * (1 - (setting.saving or 0))


def rising(ahead: float) -> Figure:
    """Return scores that rise with evaluations, those of calibrated plans by so much higher."""

    def score(setting: Setting) -> float:
        lead = ahead * (setting.method == CALIBRATED) + 0.05 * (setting.method == "ward")
        known = setting.solver != "ddpm"  # which needs more steps here, as it does
        return known * (lead + 0.8 * (1 - np.exp(-min(cost(setting), 8) / 2)))

    return score


def made_up(jobs: Sequence[Trial], score: Figure, predicted: Figure | None = None) -> Results:
    """Return made-up outcomes of all jobs; predictions are right unless given otherwise."""
    outcomes = {}
    foresee = predicted or (lambda setting: 1 - score(setting))
    for at, unit in enumerate(jobs):
        assert isinstance(unit, Unit)
        rng = np.random.default_rng(at)
        scores = 0.1 * np.sin(np.arange(len(unit.scored))) + score(unit.setting)
        scores += rng.normal(0, 0.01, len(scores))
        scores += score(unit.setting) - scores.mean()
        facts = {"evaluations": cost(unit.setting), "images": 1.0, "misfit": 1 - scores.mean()}
        if np.isfinite(foresee(unit.setting)):
            facts["predicted"] = foresee(unit.setting)
        outcomes[unit] = Outcome({"attributes": scores}, None, {}, NOTHING, facts)
    return Results(outcomes)
