"""Sentences on calibrated plans, written from their measurements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.budgets import (
    BUDGETS,
    TIGHT,
    JudgedPrediction,
    Ladder,
    Rung,
    rank_misfits,
    rank_scores,
)
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.page import number, percent, share
from hierdiff_core.evaluation.setting import label

TIGHTEST = BUDGETS[:TIGHT]
MOSTLY = 0.8  # share of a budget below which a sentence says that it is underspent


@dataclass(frozen=True)
class Tally:
    """Gains at budgets, by set and budget: those won, those lost, and how many are unknown."""

    won: Mapping[str, Estimate]
    lost: Mapping[str, Estimate]
    unknown: int

    @property
    def whole(self) -> bool:
        """Whether every budget is measured and won."""
        return not self.lost and not self.unknown

    def count(self) -> str:
        """Return at how many of the measured budgets the gain is won, in words."""
        known = len(self.won) + len(self.lost)
        return f"{len(self.won)} of {known} budgets" if known else "no budget so far"

    def words(self) -> str:
        """Return `count`, and the budgets where it is lost or not measured, in words."""
        more = [f"{place} {signed(each)}" for place, each in self.lost.items()]
        more += [f"{self.unknown} more not measured"] if self.unknown else []
        return self.count() + (f" ({'; '.join(more)})" if more else "")


@dataclass(frozen=True)
class Ranks:
    """Rank correlations of a prediction, by set; None where too few plans have both."""

    of: str
    by_set: Mapping[str, float | None]

    @property
    def mean(self) -> float | None:
        """Over the sets where it is known."""
        known = [each for each in self.by_set.values() if each is not None]
        return fmean(known) if known else None

    def sentence(self) -> str:
        """Return the mean and each set's own."""
        if self.mean is None:
            return f"Too few plans have both a prediction and a {self.of} to rank them."
        each = ", ".join(f"`{name}` {number(rank, 2)}" for name, rank in self.by_set.items())
        return (
            f"Rank correlation of predicted misfit and {self.of}: {self.mean:.2f} in the mean over "
            f"sets ({each})."
        )


def sentences(ladders: Sequence[Ladder]) -> list[str]:
    """Return the gains of the chosen plans over trees and plain steps, and how predictions rank."""
    return [*against_trees(ladders), *against_standards(ladders), *on_predictions(ladders)]


def against_trees(ladders: Sequence[Ladder]) -> list[str]:
    """Return where the chosen plans score as high as the trees, and where significantly higher."""
    ahead = sets_ahead(ladders)
    names = f" ({_names(ahead)})" if ahead else ""
    return [
        "Against ward, average and centroid, each under the better of its solvers: calibrated "
        f"plans score at least as high at {as_high_as_trees(ladders).words()}.",
        f"At both of the tightest budgets ({_listed(TIGHTEST)}) the interval of their gain over "
        f"the best of these lies above 0 on {len(ahead)} of {len(ladders)} sets{names}.",
        *_underspent(ladders),
    ]


def against_standards(ladders: Sequence[Ladder]) -> list[str]:
    """Return where the chosen plans keep up with plain steps, and where they lead."""
    sure = tally(ladders, TIGHTEST, _over_standard, lambda each: each.low > 0)
    gains = [
        "Against the best standard setting of any solver at no more evaluations"
        f"{_outbid(ladders)}: not told to be worse at {no_worse_than_steps(ladders).words()}.",
        f"At the tightest budgets ({_listed(TIGHTEST)}), where the interval lies above 0 at "
        f"{sure.count()}, they score higher at {better_than_steps(ladders).words()}.",
    ]
    return gains + [_saved(each) for each in ladders]


def on_predictions(ladders: Sequence[Ladder]) -> list[str]:
    """Return how well predictions rank plans as measured misfit and score do."""
    plans = [len(each.predictions) for each in ladders]
    return [
        f"Predictions were compared with what came out for {sum(plans)} plans, {min(plans)} or "
        "more on each set.",
        misfit_ranks(ladders).sentence(),
        score_ranks(ladders).sentence(),
    ]


def as_high_as_trees(ladders: Sequence[Ladder]) -> Tally:
    """Return where the chosen plans score at least as high as the best tree."""
    return tally(ladders, BUDGETS, _over_trees, lambda each: each.value >= 0)


def sets_ahead(ladders: Sequence[Ladder]) -> list[Ladder]:
    """Return the sets where chosen plans beat the trees significantly at all tight budgets."""
    return [
        each
        for each in ladders
        if tally([each], TIGHTEST, _over_trees, lambda found: found.low > 0).whole
    ]


def no_worse_than_steps(ladders: Sequence[Ladder]) -> Tally:
    """Return where the chosen plans are not significantly worse than plain steps."""
    return tally(ladders, BUDGETS, _over_standard, lambda each: each.high >= 0)


def better_than_steps(ladders: Sequence[Ladder]) -> Tally:
    """Return where the chosen plans score higher than plain steps at the tightest budgets."""
    return tally(ladders, TIGHTEST, _over_standard, lambda each: each.value > 0)


def misfit_ranks(ladders: Sequence[Ladder]) -> Ranks:
    """Return how predicted misfit ranks plans as the measured one does."""
    return Ranks("measured misfit", _ranked(ladders, rank_misfits))


def score_ranks(ladders: Sequence[Ladder]) -> Ranks:
    """Return how predicted misfit ranks plans as their scores do."""
    return Ranks("score", _ranked(ladders, rank_scores))


def tally(
    ladders: Sequence[Ladder],
    shares: Sequence[float],
    gain: Callable[[Rung], Estimate],
    won: Callable[[Estimate], bool],
) -> Tally:
    """Return the tally of the gains at these budgets, by the condition for a win."""
    rungs = {
        f"`{each.prompts.name}` at {percent(budget)}": each.spent()[budget]
        for each in ladders
        for budget in shares
    }
    gains = {place: gain(rung) for place, rung in rungs.items() if rung is not None}
    held = {place: each for place, each in gains.items() if won(each)}
    lost = {place: each for place, each in gains.items() if place not in held}
    return Tally(held, lost, len(rungs) - len(gains))


def _over_trees(rung: Rung) -> Estimate:
    return rung.over_trees


def _over_standard(rung: Rung) -> Estimate:
    return rung.over_standard


def _ranked(
    ladders: Sequence[Ladder], rank: Callable[[Sequence[JudgedPrediction]], float | None]
) -> dict[str, float | None]:
    return {each.prompts.name: rank(each.predictions) for each in ladders}


def signed(found: Estimate) -> str:
    """Return a difference of scores with its interval."""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _saved(ladder: Ladder) -> str:
    """Return the saving of the chosen plans over the best standard setting, as a sentence."""
    rival, saving, name = ladder.rival, ladder.saving(), f"`{ladder.prompts.name}`"
    dear = f"{label(rival.setting)} ({rival.per_image:g} evaluations, score {rival.mean:.3f})"
    if saving is None:
        return f"{name}: calibrated plans are not measured yet."
    if math.isinf(saving.value):
        best = max(ladder.chosen, key=lambda each: each.mean)
        result = f"no chosen plan reaches the score of {dear}; the best, {_scored(best)}"
    elif saving.value < 0:
        result = f"at equal score calibrated plans take {percent(-saving.value)} more than {dear}"
    else:
        sure = "" if saving.low > 0 else ", and the interval holds 0"
        result = f"at equal score calibrated plans save {share(saving)} over {dear}{sure}"
    alike = "none" if ladder.alike is None else _scored(ladder.alike)
    return f"{name}: {result}; the cheapest that is not told to be worse: {alike}."


def _scored(found: Measured) -> str:
    return f"{found.mean:.3f} with {found.per_image:.1f} evaluations"


def _underspent(ladders: Sequence[Ladder]) -> list[str]:
    """Return the sentence on budgets of which the measured plans spend too little, if any."""
    found = [
        f"`{each.prompts.name}` at {percent(budget)} ({rung.evaluations:g} of "
        f"{budget * each.rival.per_image:g})"
        for each in ladders
        for budget, rung in each.spent().items()
        if rung is not None and rung.evaluations < MOSTLY * budget * each.rival.per_image
    ]
    start = "Not all of a budget is spent, since no plan so dear was measured, for "
    return [start + ", ".join(found) + "."] if found else []


def _outbid(ladders: Sequence[Ladder]) -> str:
    """Return the clause on budgets at which standard settings take more evaluations, if any."""
    rungs = [rung for each in ladders for rung in each.spent().values() if rung is not None]
    count = sum(rung.outbid for rung in rungs)
    if not count:
        return ""
    return f" (at {count} of {len(rungs)} budgets none is as cheap: the best of the cheapest)"


def _names(ladders: Sequence[Ladder]) -> str:
    return ", ".join(f"`{each.prompts.name}`" for each in ladders)


def _listed(shares: Sequence[float]) -> str:
    return " and ".join(f"{100 * each:g}" for each in shares) + " %"
