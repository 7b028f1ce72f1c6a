"""What sharing cost a night's sample: measured, in figures and in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.ledger import StoredPair

_FEWEST = 2  # pairs that make an interval


@dataclass(frozen=True, slots=True)
class MeasuredPairs:
    """The means of a night's pairs; losses are shares of what plain pictures miss."""

    pairs: int
    evaluations: int  # that the plain pictures took, beside those of the night
    by: str  # the encoder and the judge
    distance: float  # 1 - cosine
    loss: float | None = None  # None where pictures and prompts share no space
    low: float | None = None  # of its 95 % interval; None for a single pair
    high: float | None = None
    predicted: float | None = None  # of the same pictures
    score: float | None = None  # by the judge, of those that shared
    plain_score: float | None = None


def measure_pairs(
    pairs: Iterable[StoredPair], predicted: Mapping[int, float | None]
) -> MeasuredPairs | None:
    """Return the means of the pairs that a run has made and compared; None where it has none.

    `predicted` are losses by leaf. The interval is Student's, since pairs may be few.
    """
    made = [each for each in pairs if each.evaluations and each.distance is not None]
    if not made:
        return None
    losses = _known([each.loss for each in made])
    low, high = _interval(losses) if losses else (None, None)
    return MeasuredPairs(
        pairs=len(made),
        evaluations=sum(each.evaluations for each in made),
        by=made[0].compared_by or "",
        distance=float(np.mean([each.distance for each in made if each.distance is not None])),
        loss=_mean(losses),
        low=low,
        high=high,
        predicted=_mean(_known([predicted.get(each.leaf) for each in made])),
        score=_mean(_known([each.score for each in made])),
        plain_score=_mean(_known([each.plain_score for each in made])),
    )


def badness(loss: float | None, distance: float | None) -> float:
    """Return by what pairs are ordered, the worst first: the loss, or else the distance."""
    found = distance if loss is None else loss
    return -math.inf if found is None else found


def measured_text(measured: MeasuredPairs) -> str:
    """Return what was measured, in one sentence or two."""
    count = f"{measured.pairs} pair{'s' * (measured.pairs > 1)}"
    if measured.loss is None:
        text = f"The two pictures of {count} are {measured.distance:.3f} apart on average"
    else:
        text = f"In {count} sharing cost {measured.loss:.1%} of what plain pictures miss"
        if measured.low is not None and measured.high is not None:
            text += f" (95 %: {measured.low:.1%} to {measured.high:.1%})"
        if measured.predicted is not None:
            text += f"; {measured.predicted:.1%} was predicted for these"
    if measured.score is not None and measured.plain_score is not None:
        text += (
            f". Those that shared score {measured.score:.3g}, plain ones {measured.plain_score:.3g}"
        )
    return f"{text}."


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    if len(values) < _FEWEST:
        return None, None
    from scipy.stats import t  # takes a second to load

    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return mean - reach, mean + reach


def _known(values: Sequence[float | None]) -> list[float]:
    """Return the values where all are known, else none."""
    known = [each for each in values if each is not None]
    return known if len(known) == len(values) else []


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
