"""Cuts built backwards: who shares each step, merged from the last step to the first at one price.

At the last step everyone is alone. For k = K-1 .. 1 the clusters of step k+1 merge by Ward's
criterion on the points of step k while a merge costs no more than the price, so that the cuts are
nested. `docs/method.md` says when that is the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hierdiff_core.calibrated.merging import Merging, merge_by_weighted_ward
from hierdiff_core.calibrated.points import StepPoints, cluster_means, spread_within

_SLACK = 0.005  # share of the budget that a price may leave unspent
_TRIALS = 24  # prices that are tried
_RANGE = 40.0  # between the logarithms of the lowest price and the highest
_STRIDE = 0.25  # first step of the search, in log price
_ROUNDING = 1e-6  # of sums of prices
_SAMPLE = 500  # rows from which every fourth one is solved first


@dataclass(frozen=True, eq=False)
class Cuts:
    """The merges of every step, from step K-1 down to step 1, and how many of them are made."""

    size: int  # N
    price: float
    merges: tuple[Merging, ...]  # each of the clusters that the previous one leaves
    made: tuple[int, ...]  # how many of each step's merges are made, the cheapest first
    excess: float  # of all merges, summed over the rows and steps
    prices: tuple[float, ...]  # of an evaluation at each step, from step K down to step 1

    @property
    def steps(self) -> int:
        """K."""
        return len(self.merges) + 1

    @property
    def spent(self) -> float:
        """Clusters times the price of an evaluation, summed over the K steps."""
        clusters = [each.size - made for each, made in zip(self.merges, self.made, strict=True)]
        return float(np.dot([self.size, *clusters], self.prices))


def merge_backwards(points: StepPoints, price: float) -> Cuts:
    """Return the cuts of one price, of an evaluation that costs 1."""
    labels, merges, excess = np.arange(points.size), list[Merging](), 0.0
    for k in range(points.steps - 1, 0, -1):
        here = points.at(k)
        means, weights = cluster_means(here, labels)
        merges.append(merge_by_weighted_ward(means, weights, price * points.price(k)))
        labels = merges[-1].labels()[labels]
        excess += spread_within(here, labels)
    made = tuple(len(each.children) for each in merges)
    prices = tuple(points.price(k) for k in range(points.steps, 0, -1))
    return Cuts(points.size, price, tuple(merges), made, excess, prices)


def spend(sets: Sequence[StepPoints], evaluations: int) -> tuple[Cuts, ...]:
    """Return cuts of each set that spend the evaluations together, at one price.

    `evaluations` is at most K N and at least N + K - 1, summed over the sets. Near K N up to K - 1
    of them may stay unspent: a merge that all steps share is undone at all of them or at none. So
    may those that equal rows share, which are free. The price is searched on a logarithmic scale.
    Evaluations need not fall steadily with the price, since merges at late steps decide which are
    possible at early ones; so the search keeps the cuts that fit and spend most, and then undoes
    merges, the dearest first, to spend the rest.
    """
    if evaluations >= sum(each.size * each.steps for each in sets):
        return _cut(sets, -1.0)
    best = _search(sets, _budget(evaluations))
    if _spent(best) > evaluations:
        best = _cut(sets, max(map(_most_anywhere, sets)))
    return _take_back(best, evaluations - _spent(best))


def bound(sets: Sequence[StepPoints], excess: float) -> tuple[Cuts, ...]:
    """Return the cuts of the highest price found whose excess is no more, over all sets together.

    Rows that are equal share whatever the bound, since that adds nothing.
    """
    return _search(sets, _bound(excess)) if excess > 0 else _cut(sets, 0.0)


@dataclass(frozen=True)
class _Goal:
    """A limit that cuts keep, and how much of it they may leave."""

    measure: Callable[[Sequence[Cuts]], float]
    limit: float
    slack: float
    sign: int  # 1 where cuts of a higher price leave more of it, else -1

    def left(self, cuts: Sequence[Cuts]) -> float:
        """Return how much of the limit cuts leave."""
        return self.limit - self.measure(cuts)

    def of_sample(self, rows: int, size: int) -> _Goal:
        """Return the goal of some of the rows."""
        if self.sign > 0:
            return _budget(int(self.limit) * rows // size)
        return _bound(self.limit * rows / size)


def _budget(evaluations: int) -> _Goal:
    return _Goal(_spent, evaluations, max(1, int(_SLACK * evaluations)), 1)


def _bound(excess: float) -> _Goal:
    return _Goal(_excess, excess, _SLACK * excess, -1)


def _cut(sets: Sequence[StepPoints], price: float) -> tuple[Cuts, ...]:
    return tuple(merge_backwards(each, price) for each in sets)


def _spent(cuts: Sequence[Cuts]) -> float:
    return sum(each.spent for each in cuts)


def _excess(cuts: Sequence[Cuts]) -> float:
    return sum(each.excess for each in cuts)


def _search(sets: Sequence[StepPoints], goal: _Goal) -> tuple[Cuts, ...]:
    """Return cuts that keep a limit and, where the search succeeds, leave hardly any of it.

    From a guess the log price goes out in growing strides until the limit is passed, then by
    halves. Where the dearest cuts do not keep a budget, neither do those that are returned.
    """
    dearest = math.log(max(map(_most, sets)))
    low, high = sorted((goal.sign * dearest, goal.sign * (dearest - _RANGE)))
    best = _cut(sets, math.exp(goal.sign * high))
    guess, stride = _guess(sets, goal, low, high), _STRIDE
    for _ in range(_TRIALS):
        cuts = _cut(sets, math.exp(goal.sign * guess))
        left = goal.left(cuts)
        if 0 <= left <= goal.left(best):
            best = cuts
        if 0 <= left <= goal.slack:
            break
        if left >= 0:
            high, guess = guess, max((low + guess) / 2, guess - stride)
        else:
            low, guess = guess, min((high + guess) / 2, guess + stride)
        stride *= 2
    return best


def _most(points: StepPoints) -> float:
    """Return a price at which a whole set is one cluster at every step but the last."""
    steps = range(max(1, points.steps - 1), points.steps)
    spread = sum(float(np.var(points.at(k), axis=0).sum()) for k in steps)
    least = min(points.price(k) for k in steps)
    return spread * points.size * 1.01 / least + 1e-300


def _most_anywhere(points: StepPoints) -> float:
    """Return such a price for points of any kind, also those that lie closer at later steps."""
    steps = range(1, points.steps)
    dearest = [float(np.var(points.at(k), axis=0).sum()) / points.price(k) for k in steps]
    return max(dearest, default=0.0) * points.size * 1.01 + 1e-300


def _guess(sets: Sequence[StepPoints], goal: _Goal, low: float, high: float) -> float:
    """Return the signed logarithm of a price to start from, found on every fourth row."""
    size = sum(each.size for each in sets)
    if size < _SAMPLE:
        return (low + high) / 2
    sample = [each.take(np.arange(0, each.size, 4)) for each in sets]
    fewer = goal.of_sample(sum(each.size for each in sample), size)
    price = _search(sample, fewer)[0].price
    return min(high, max(low, goal.sign * math.log(price)))


def _take_back(cuts: Sequence[Cuts], unspent: float) -> tuple[Cuts, ...]:
    """Return the cuts without the dearest merges; they stay nested, as they only get finer."""
    merges = [each for cut in cuts for each in cut.merges]
    made = np.array([each for cut in cuts for each in cut.made], dtype=np.int64)
    if not made.sum():
        return tuple(cuts)
    prices = np.repeat([price for cut in cuts for price in cut.prices[1:]], made)
    increases = np.concatenate([each.increases for each in merges]) / prices
    step = np.repeat(np.arange(len(merges)), made)
    rank = np.concatenate([np.arange(each) for each in made])
    dearest = np.lexsort((-rank, step, -increases))
    dearest = dearest[np.cumsum(prices[dearest]) <= unspent + _ROUNDING]
    made = made - np.bincount(step[dearest], minlength=len(merges))
    ends = np.cumsum([len(cut.merges) for cut in cuts])[:-1]
    kept = [tuple(map(int, each)) for each in np.split(made, ends)]
    return tuple(replace(cut, made=each) for cut, each in zip(cuts, kept, strict=True))
