"""Points per step: positions of prompts whose squared distances are what sharing that step costs.

`calibration` makes the points of conditionings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hierdiff_core.calibrated.merging import Ids, Points, Weights

Rows = Ids | slice


@dataclass(frozen=True, eq=False)
class StepPoints:
    """N prompts' points at the steps k = 1..K-1; the last step is shared by nobody.

    The cost of letting prompts share step k is the sum of their squared distances from the mean of
    their points there.
    """

    steps: int  # K
    size: int  # N
    # start, stop, rows -> points of some rows: those of the steps from start + 1 to stop.
    find: Callable[[int, int, Rows], Points]
    rows: Ids | None = None  # a selection of the rows, in its order; None for all
    prices: Points | None = None  # (K,) of an evaluation at each step, of mean 1; None: 1 each
    anew: Callable[[Ids], StepPoints] | None = None  # makes the points of rows in another order

    def at(self, k: int) -> Points:
        """Return the points of step k, float64."""
        return self.between(k - 1, k)

    def between(self, start: int, stop: int) -> Points:
        """Return points whose squared distances are those of steps start + 1 to stop together."""
        rows = slice(None) if self.rows is None else self.rows
        return np.asarray(self.find(start, stop, rows), dtype=np.float64)

    def price(self, k: int) -> float:
        """Return the price of an evaluation of step k."""
        return 1.0 if self.prices is None else float(self.prices[k - 1])

    def arrange(self, order: Ids) -> StepPoints:
        """Return all rows in another order, made in it: rounding may follow a row's place."""
        if self.anew is None:
            return self.take(order)
        return replace(self.anew(order), prices=self.prices)

    def take(self, rows: Ids) -> StepPoints:
        """Return some of the rows, in the order given."""
        kept = rows if self.rows is None else self.rows[rows]
        return replace(self, size=len(rows), rows=kept, anew=None)


def cluster_means(points: Points, labels: Ids) -> tuple[Points, Weights]:
    """Return the mean and the number of each cluster's points, by ascending label."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sizes = np.diff(starts, append=len(labels)).astype(np.float64)
    return np.add.reduceat(points[order], starts, axis=0) / sizes[:, None], sizes


def spread_within(points: Points, labels: Ids) -> float:
    """Return the sum of squared distances of points from the means of their clusters."""
    points = points - points.mean(axis=0)  # smaller numbers lose less to rounding
    means, sizes = cluster_means(points, labels)
    within = np.vdot(points, points) - (sizes * np.einsum("nd,nd->n", means, means)).sum()
    return float(max(0.0, within))
