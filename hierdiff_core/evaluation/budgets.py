"""Budgets: the quality that one buys by a calibrated plan, by the paper's trees and by fewer steps.

The calibrated plan of a rung is chosen by its prediction alone, without a score. Its rivals are the
best in hindsight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import spearmanr

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import (
    Measured,
    best_standard,
    largest_within,
    saving_over_best,
)
from hierdiff_core.evaluation.prompt_sets import PromptSet

BUDGETS = (0.2, 0.3, 0.5, 0.7)  # shares of the evaluations of the best standard setting
TIGHT = 2  # the first budgets, which count as the tightest
_TOLERANCE = 0.02  # share by which a rung may exceed its budget


@dataclass(frozen=True)
class JudgedPrediction:
    """A plan's measured scores and misfit, with its predicted misfit."""

    measured: Measured
    predicted: float  # mean misfit over all prompts; lower is better
    misfit: float  # squared distance of the pictures' embeddings from their conditionings


@dataclass(frozen=True)
class Rung:
    """One number of evaluations per image, and the scores of each way to spend it."""

    evaluations: float
    chosen: Measured  # the calibrated plan of the least predicted misfit
    hindsight: Measured  # the calibrated plan of the highest score
    trees: Mapping[str, Measured]  # by linkage, under the solver that scores higher
    standard: Measured

    @property
    def best_tree(self) -> Measured:
        """The tree of the highest score over all linkages."""
        return max(self.trees.values(), key=lambda each: each.mean)

    @cached_property
    def over_trees(self) -> Estimate:
        """The gain of the chosen plan's score over the best tree's."""
        return estimate_mean(self.chosen.scores - self.best_tree.scores)

    @cached_property
    def over_standard(self) -> Estimate:
        """The gain of the chosen plan's score over the standard setting's."""
        return estimate_mean(self.chosen.scores - self.standard.scores)

    @property
    def outbid(self) -> bool:
        """Whether the standard setting is dearer, since none is as cheap as the rung."""
        return self.standard.per_image > self.evaluations * (1 + _TOLERANCE)


@dataclass(frozen=True)
class Ladder:
    """The measured rungs of one set, and its plans with a predicted misfit."""

    prompts: PromptSet
    standards: Sequence[Measured]
    rungs: Sequence[Rung]
    predictions: Sequence[JudgedPrediction]

    @cached_property
    def rival(self) -> Measured:
        """The cheapest standard setting that is not significantly worse than the best one."""
        return best_standard(self.standards)

    def spent(self) -> dict[float, Rung | None]:
        """Return the rung of each budget, by the budget's share; None where all are dearer."""
        whole = self.rival.per_image
        return {share: dearest_within(self.rungs, share * whole) for share in BUDGETS}

    def saving(self) -> Estimate | None:
        """Return the saving of the chosen plans over the rival at its score."""
        return saving_over_best(self.chosen, self.standards) if self.rungs else None

    @property
    def chosen(self) -> list[Measured]:
        """The chosen plan of each rung."""
        return [rung.chosen for rung in self.rungs]

    @property
    def alike(self) -> Measured | None:
        """The cheapest chosen plan that does not score significantly below the rival."""
        return largest_within(self.chosen, self.rival)


def choose_plan(plans: Sequence[JudgedPrediction]) -> JudgedPrediction | None:
    """Return the plan of the least predicted misfit."""
    return min(plans, key=lambda each: each.predicted, default=None)


def dearest_within(rungs: Sequence[Rung], budget: float) -> Rung | None:
    """Return the dearest rung within a budget, None where there is none."""
    able = [each for each in rungs if each.evaluations <= budget * (1 + _TOLERANCE)]
    return max(able, key=lambda each: each.evaluations, default=None)


def best_affordable(standards: Sequence[Measured], evaluations: float) -> Measured:
    """Return the standard setting of the highest score at no more evaluations per image.

    Where all of them take more: the highest score among the cheapest.
    """
    limit = max(evaluations, min(each.per_image for each in standards))
    return max((each for each in standards if each.per_image <= limit), key=lambda each: each.mean)


def rank_misfits(plans: Sequence[JudgedPrediction]) -> float | None:
    """Return Spearman's correlation of predicted and measured misfit; None for too few plans."""
    return _rank(plans, [each.misfit for each in plans])


def rank_scores(plans: Sequence[JudgedPrediction]) -> float | None:
    """Return Spearman's correlation of predicted misfit and score, the latter negated."""
    return _rank(plans, [-each.measured.mean for each in plans])


def _rank(plans: Sequence[JudgedPrediction], found: Sequence[float]) -> float | None:
    predicted = np.array([each.predicted for each in plans])
    if len(plans) < 3 or not np.ptp(predicted) or not np.ptp(found):
        return None
    rank = float(spearmanr(predicted, found).statistic)
    return rank if math.isfinite(rank) else None
