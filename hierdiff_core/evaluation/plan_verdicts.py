"""Sentences on calibrated plans, written from numbers: what they were to show, and if they do.

Knows ladders of budgets and the goals; measures nothing. A goal that is not wholly measured is not
hit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.budgets import (
    BUDGETS,
    TIGHT,
    Foreseen,
    Ladder,
    Rung,
    rank_misfits,
    rank_scores,
)
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.setting import label
from hierdiff_core.evaluation.told import percent, share

SETS_AHEAD = 2  # on which the tightest budgets shall be won with intervals apart
MOSTLY = 0.8  # of a budget: where less is spent it is said
MISFIT_RANK, SCORE_RANK, PLANS = 0.9, 0.8, 40

Gain = Callable[[Rung], Estimate]
Won = Callable[[Estimate], bool]


def against_trees(ladders: Sequence[Ladder]) -> list[str]:
    """Return whether the chosen plans score at least as the trees, and more at tight budgets."""

    def gain(rung: Rung) -> Estimate:
        return rung.over_trees

    held = _count(ladders, BUDGETS, gain, lambda each: each.value >= 0)
    tight = BUDGETS[:TIGHT]
    ahead = [each for each in ladders if _all(each, tight, gain, lambda found: found.low > 0)]
    names = f" ({_names(ahead)})" if ahead else ""
    return [
        "Against ward, average and centroid, each under the better of its solvers: calibrated "
        f"plans score at least as high at {held}.",
        f"At both of the tightest budgets ({_listed(tight)}) the interval of their gain over the "
        f"best of these lies above 0 on {len(ahead)} of {len(ladders)} sets{names}; the goal, "
        f"{SETS_AHEAD} sets, is {_verdict(len(ahead) >= SETS_AHEAD)}.",
        *_underspent(ladders),
    ]


def against_standards(ladders: Sequence[Ladder]) -> list[str]:
    """Return whether the chosen plans keep up with plain steps, and lead at tight budgets."""

    def gain(rung: Rung) -> Estimate:
        return rung.over_standard

    held = _count(ladders, BUDGETS, gain, lambda each: each.high >= 0)
    better = _count(ladders, BUDGETS[:TIGHT], gain, lambda each: each.value > 0)
    sure = _count(ladders, BUDGETS[:TIGHT], gain, lambda each: each.low > 0, brief=True)
    said = [
        "Against the best standard setting of any solver at no more evaluations"
        f"{_outbid(ladders)}: not told to be worse at {held}.",
        f"At the tightest budgets ({_listed(BUDGETS[:TIGHT])}) they score higher at {better}; the "
        f"interval lies above 0 at {sure}.",
    ]
    return said + [_saved(each) for each in ladders]


def foretold(ladders: Sequence[Ladder]) -> list[str]:
    """Return whether predictions rank plans as measured misfit and score do."""
    plans = {each.prompts.name: each.foreseen for each in ladders}
    fewest, total = min(map(len, plans.values())), sum(map(len, plans.values()))
    return [
        f"Predictions were compared with what came out for {total} plans, {fewest} or more on each "
        f"set (goal: {PLANS}, {_verdict(fewest >= PLANS)}).",
        _ranked("measured misfit", rank_misfits, plans, MISFIT_RANK),
        _ranked("score", rank_scores, plans, SCORE_RANK),
    ]


def signed(found: Estimate) -> str:
    """Return a difference of scores with its interval."""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _ranked(
    what: str,
    rank: Callable[[Sequence[Foreseen]], float | None],
    plans: Mapping[str, Sequence[Foreseen]],
    goal: float,
) -> str:
    found = {name: rank(each) for name, each in plans.items()}
    known = [each for each in found.values() if each is not None]
    if not known:
        return f"Too few plans have both a prediction and a {what} to rank them."
    mean = fmean(known)
    whole = len(known) == len(found)
    each = ", ".join(f"`{n}` {'–' if r is None else f'{r:.2f}'}" for n, r in found.items())
    return (
        f"Rank correlation of predicted misfit and {what}: {mean:.2f} in the mean over sets "
        f"({each}); the goal, {goal:g}, is {_verdict(whole and mean >= goal)}."
    )


def _saved(ladder: Ladder) -> str:
    """Return what the chosen plans save over the best standard setting."""
    rival, saving, name = ladder.rival, ladder.saving(), f"`{ladder.prompts.name}`"
    dear = f"{label(rival.setting)} ({rival.per_image:g} evaluations, score {rival.mean:.3f})"
    if saving is None:
        return f"{name}: calibrated plans are not measured yet."
    if math.isinf(saving.value):
        best = max(ladder.chosen, key=lambda each: each.mean)
        said = f"no chosen plan reaches the score of {dear}; the best, {_scored(best)}"
    elif saving.value < 0:
        said = f"at equal score calibrated plans take {percent(-saving.value)} more than {dear}"
    else:
        sure = "" if saving.low > 0 else ", and the interval holds 0"
        said = f"at equal score calibrated plans save {share(saving)} over {dear}{sure}"
    alike = "none" if ladder.alike is None else _scored(ladder.alike)
    return f"{name}: {said}; the cheapest that is not told to be worse: {alike}."


def _scored(found: Measured) -> str:
    return f"{found.mean:.3f} with {found.per_image:.1f} evaluations"


def _count(
    ladders: Sequence[Ladder], shares: Sequence[float], gain: Gain, won: Won, brief: bool = False
) -> str:
    """Return at how many budgets something holds, where it does not, and whether that is a hit."""
    rungs = {
        f"`{each.prompts.name}` at {percent(budget)}": each.spent()[budget]
        for each in ladders
        for budget in shares
    }
    gains = {place: gain(rung) for place, rung in rungs.items() if rung is not None}
    lost = {place: each for place, each in gains.items() if not won(each)}
    held = f"{len(gains) - len(lost)} of {len(gains)} budgets"
    count = held if gains else "no budget so far"
    if brief:
        return count
    unknown = len(rungs) - len(gains)
    more = [f"{place} {signed(each)}" for place, each in lost.items()]
    more += [f"{unknown} more not measured"] if unknown else []
    why = f" ({'; '.join(more)})" if more else ""
    return f"{count}{why}; the goal, all of them, is {_verdict(not more)}"


def _underspent(ladders: Sequence[Ladder]) -> list[str]:
    """Return which budgets are larger than all that was measured."""
    found = [
        f"`{each.prompts.name}` at {percent(budget)} ({rung.evaluations:g} of "
        f"{budget * each.rival.per_image:g})"
        for each in ladders
        for budget, rung in each.spent().items()
        if rung is not None and rung.evaluations < MOSTLY * budget * each.rival.per_image
    ]
    said = "Not all of a budget is spent, since no plan so dear was measured, for "
    return [said + ", ".join(found) + "."] if found else []


def _outbid(ladders: Sequence[Ladder]) -> str:
    """Return at how many budgets standard settings are given more evaluations, if at any."""
    rungs = [rung for each in ladders for rung in each.spent().values() if rung is not None]
    count = sum(rung.outbid for rung in rungs)
    if not count:
        return ""
    return f" (at {count} of {len(rungs)} budgets none is as cheap: the best of the cheapest)"


def _all(ladder: Ladder, shares: Sequence[float], gain: Gain, won: Won) -> bool:
    spent = ladder.spent()
    rungs = [spent[each] for each in shares]
    return all(rung is not None and won(gain(rung)) for rung in rungs)


def _verdict(hit: bool) -> str:
    return "hit" if hit else "missed"


def _names(ladders: Sequence[Ladder]) -> str:
    return ", ".join(f"`{each.prompts.name}`" for each in ladders)


def _listed(shares: Sequence[float]) -> str:
    return " and ".join(f"{100 * each:g}" for each in shares) + " %"
