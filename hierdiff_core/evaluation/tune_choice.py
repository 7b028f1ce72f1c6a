"""The choice: the cheapest setting that is known to hold a wanted quality.

Quality is a share of the mean score of the best standard setting, decided by the 95 % interval of
that share (bootstrap over prompts, paired).

A sample is split, so that the luckiest of many settings is not taken for the best: all candidates
are tried on the *choosing* half, and the reported figures are measured on the *telling* half, which
took no part in the choice.

1. On the choosing half the standard settings come first, since they are few. Best is the highest
   mean; among its solver's settings that are not significantly worse, the one with the most steps
   becomes the reference, or a small sample would take a lucky setting of few steps for all that the
   model can do.
2. A ladder of sharing settings is followed from its mildest saving on, as far as it costs less
   than the cheapest standard setting that seems to hold, and given up once it is known to fall
   short.
3. The reference and the settings that seem to hold become a ladder, the surest first, where surer
   is a higher lower end of the interval. A setting is left out where a cheaper one is surer; a
   standard setting only where a cheaper standard one is.
4. The ladder is climbed on the telling half, and the climb ends at the first rung that does not
   hold for sure. The cheapest that does is chosen. Rungs are tested in an order that was fixed
   beforehand, so the chance that the chosen one falls short stays that of a single test, 2.5 %,
   however many were tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.bootstrap import Estimate, resample
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.evaluation.tune_grid import Candidates, cost

MOST = 100_000  # largest sample that is worth recommending, in prompts


class Half(StrEnum):
    """A half of the sample."""

    CHOOSING = "choosing"
    TELLING = "telling"


class Verdict(StrEnum):
    """Whether a setting holds the wanted quality."""

    HOLDS = "holds"  # the whole interval reaches the wanted quality
    SHORT = "falls short"  # the whole interval stays below it
    UNSURE = "undecided"


# Takes settings and a half; returns their measurements on it, without those that are incomplete.
Measure = Callable[[Sequence[Setting], Half], Mapping[Setting, Measured]]


@dataclass(frozen=True)
class Judged:
    """A setting with its share of the best standard setting's score."""

    measured: Measured
    share: Estimate
    verdict: Verdict

    @property
    def setting(self) -> Setting:
        """The setting that was measured."""
        return self.measured.setting


@dataclass(frozen=True)
class Choice:
    """The result of a tuning."""

    quality: float  # the wanted one
    chosen: Judged  # on the telling half, as all of `climbed`
    reference: Judged  # the best standard setting
    climbed: tuple[Judged, ...]  # the ladder as far as it was climbed, the surest first
    tried: tuple[Judged, ...]  # on the choosing half
    cheapest_standard: Judged  # that holds for sure

    @property
    def stopped_at(self) -> Judged | None:
        """The rung that did not hold for sure, None where the ladder was climbed to its end."""
        return self.climbed[-1] if self.climbed[-1].verdict is not Verdict.HOLDS else None

    @property
    def undecided(self) -> Judged | None:
        """An undecided cheaper setting: the rung that ended the climb, or else the best tried."""
        seen = self.tried if self.stopped_at is None else [self.stopped_at]
        able = [
            each
            for each in seen
            if each.verdict is Verdict.UNSURE and _price(each) < _price(self.chosen)
        ]
        return max(able, key=lambda each: each.share.value, default=None)


def choose(candidates: Candidates, quality: float, measure: Measure) -> Choice:
    """Return the cheapest setting that is known to hold the quality; see the module.

    Raises InvalidSetting for a quality outside (0, 1], where no standard setting has complete
    figures, and where the best one scores 0 or less.
    """
    if not 0 < quality <= 1:
        raise InvalidSetting(setting="quality", value=quality, hint="use above 0 to 1")
    standards = list(measure(candidates.standards, Half.CHOOSING).values())
    reference = _reference(standards, quality)
    tried = [judge(each, reference, quality) for each in standards]
    limit = min(each.measured.per_image for each in tried if _seems_to_hold(each, quality))
    tried += _follow(candidates, reference, quality, limit, measure)
    climbed = _climb(_ladder(tried, reference, quality), quality, measure)
    holding = [each for each in climbed if each.verdict is Verdict.HOLDS]
    chosen = min(holding, key=_price)
    alone = min((each for each in holding if not each.setting.shares), key=_price)
    return Choice(quality, chosen, climbed[0], tuple(climbed), tuple(tried), alone)


def judge(ours: Measured, reference: Measured, quality: float) -> Judged:
    """Return the share of the reference's mean score with its interval, and the verdict."""
    share = resample(np.stack([ours.scores, reference.scores]), _share)
    if share.low >= quality:
        return Judged(ours, share, Verdict.HOLDS)
    return Judged(ours, share, Verdict.SHORT if share.high < quality else Verdict.UNSURE)


def prompts_to_decide(judged: Judged, quality: float) -> int | None:
    """Return how many prompts a sample needs for a setting's interval to exclude the quality.

    An interval narrows with the root of the prompts, and half of a sample is the telling half. None
    where more than MOST would be needed, or the setting is decided already.
    """
    if judged.verdict is not Verdict.UNSURE:
        return None
    gap = abs(judged.share.value - quality)
    half_width = (judged.share.high - judged.share.low) / 2
    if gap * math.sqrt(MOST) <= half_width * math.sqrt(len(judged.measured.scores)):
        return None
    needed = 2 * len(judged.measured.scores) * (half_width / gap) ** 2
    step = 10 ** max(0, math.floor(math.log10(needed)) - 1)  # only two digits are significant
    return math.ceil(needed / step) * step


def _share(means: np.ndarray) -> float:
    return float(means[0] / means[1]) if means[1] > 0 else 0.0


def _best(standards: Sequence[Measured]) -> Measured:
    if not standards:
        hint = "no standard setting has complete figures; run the same command again"
        raise InvalidSetting(setting="solvers", value=0, hint=hint)
    best = max(standards, key=lambda each: (each.mean, -each.per_image))
    if best.mean <= 0:
        hint = "it scores the best standard setting 0 or less, so no share can be stated"
        raise InvalidSetting(setting="judge", value=best.mean, hint=hint)
    return best


def _reference(standards: Sequence[Measured], quality: float) -> Measured:
    """Return the best standard setting, or one of more steps that is not significantly worse."""
    best = _best(standards)
    solver = best.setting.solver
    alike = [
        each
        for each in standards
        if each.setting.solver == solver and judge(each, best, quality).share.high >= 1
    ]
    return max(alike, key=lambda each: each.per_image)


def _price(judged: Judged) -> float:
    return judged.measured.per_image


def _seems_to_hold(judged: Judged, quality: float) -> bool:
    return judged.share.value >= quality


def _follow(
    candidates: Candidates, reference: Measured, quality: float, limit: float, measure: Measure
) -> list[Judged]:
    """Return the settings tried on the ladders, below a limit of evaluations, round by round."""
    waiting = [[each for each in ladder if cost(each) < limit] for ladder in candidates.ladders]
    tried: list[Judged] = []
    while waiting := [ladder for ladder in waiting if ladder]:
        found = measure([ladder[0] for ladder in waiting], Half.CHOOSING)
        alive = []
        for first, *rest in waiting:
            # A saving that cannot be met, or a picture that failed, ends its ladder.
            if first in found:
                tried.append(judge(found[first], reference, quality))
                if tried[-1].verdict is not Verdict.SHORT:
                    alive.append(rest)
        waiting = alive
    return tried


def _ladder(tried: Sequence[Judged], reference: Measured, quality: float) -> list[Setting]:
    """Return the reference and the rungs after it, the surest first.

    Standard settings are also compared among themselves, so a sharing setting hides no standard one
    that people want to compare it with.
    """
    able = [each for each in tried if _seems_to_hold(each, quality)]
    below = [each for each in able if _price(each) < reference.per_image]
    alone = [each for each in below if not each.setting.shares]
    rungs = {each.setting: each for each in (*_surest(alone), *_surest(below))}
    ladder = sorted(rungs.values(), key=lambda each: (-each.share.low, _price(each)))
    return [reference.setting, *(each.setting for each in ladder)]


def _surest(judged: Iterable[Judged]) -> list[Judged]:
    """Return the settings for which no setting of at most their cost is surer."""
    kept: list[Judged] = []
    for rung in sorted(judged, key=lambda each: (_price(each), -each.share.low)):
        if not kept or rung.share.low > kept[-1].share.low:
            kept.append(rung)
    return kept


def _climb(ladder: Sequence[Setting], quality: float, measure: Measure) -> list[Judged]:
    """Return the rungs up to the first that does not hold for sure, on the telling half."""
    first = measure(ladder[:1], Half.TELLING)
    reference = _best(list(first.values()))
    climbed = [judge(reference, reference, quality)]
    for setting in ladder[1:]:
        found = measure([setting], Half.TELLING).get(setting)
        if found is None:
            break
        climbed.append(judge(found, reference, quality))
        if climbed[-1].verdict is not Verdict.HOLDS:
            break
    return climbed
