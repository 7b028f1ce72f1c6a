"""From readings to a calibration: the settled share of each level, and what sharing comes to.

Knows readings, regressions and how well they predict; knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.levels import Levels
from hierdiff_core.calibrated.readings import Design, Reading
from hierdiff_core.calibrated.ridge import Fit, Matrix, fit_towards, positive_part

_RANK = 64  # directions that get a share of their own, at the most
_KEPT = 0.999  # of the variance of the conditionings


@dataclass(frozen=True, eq=False)
class _Forked:
    """What was measured on n prompts, each of which shared F forks' steps with its party."""

    asked: Matrix  # (n, D) conditionings
    away: Matrix  # (n, D) from a prompt to the mean of its party
    alone: Matrix  # (n, D) embeddings of pictures
    forked: npt.NDArray[np.float64]  # (F, n, D)

    @property
    def moved(self) -> npt.NDArray[np.float64]:
        """(F, n, D) from the picture alone to the one that shared."""
        return np.asarray(self.forked - self.alone)

    @property
    def excess(self) -> Matrix:
        """(F, n) by how much more a picture misses what was asked."""
        after = ((self.forked - self.asked) ** 2).sum(axis=2)
        return np.asarray(after - ((self.alone - self.asked) ** 2).sum(axis=1))


def fit_calibration(
    vectors: npt.NDArray[np.floating],
    readings: Mapping[str, Reading],
    design: Design,
    levels: Levels,
    facts: Mapping[str, Any],
) -> Calibration:
    """Return the calibration of readings (`readings.measure`) on prompts of these vectors (n, D).

    `levels` are the highest there is and those that the forks came down to, (1 + F,). Whatever is
    said of how well a calibration predicts is said of left-out prompts.
    """
    found = _gather(np.asarray(vectors, dtype=np.float64), readings, design)
    basis = _basis(found.asked)
    away, moved = found.away @ basis, found.moved @ basis
    shares = _shares(found)
    fits = [fit_towards(share, away, each) for share, each in zip(shares, moved, strict=True)]
    outside = (found.away**2).sum() - (away**2).sum()
    scale = _scale(found.excess, fits, shares, away, float(outside))
    settled = _accumulate([scale * each.map for each in fits])
    described = _describe(fits, away, moved, shares) | {"scale": round(scale, 4)}
    return Calibration(
        levels,
        basis,
        np.concatenate([np.zeros((1, *settled.shape[1:])), settled]),
        np.concatenate([[0.0], scale * shares]),
        _misfits(found, readings, design),
        {**facts, **described, "evaluations": design.evaluations(len(away))},
    )


def _gather(vectors: Matrix, readings: Mapping[str, Reading], design: Design) -> _Forked:
    blocks = sorted((name for name in readings if name.startswith("forked-")), key=_number)
    seen = np.concatenate([readings[name] for name in blocks], axis=1).astype(np.float64)
    asked = vectors[: seen.shape[1]]
    parties = asked.reshape(-1, design.together, asked.shape[1])
    away = (parties.mean(axis=1, keepdims=True) - parties).reshape(asked.shape)
    return _Forked(asked, away, seen[0], seen[1:])


def _number(name: str) -> int:
    return int(name.split("-")[1])


def _basis(vectors: Matrix) -> Matrix:
    """Return the directions (D, r) that hold nearly all of the vectors' variance."""
    _, strengths, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    held = np.cumsum(strengths**2) / max(float((strengths**2).sum()), 1e-300)
    return np.asarray(axes[: min(_RANK, int(np.searchsorted(held, _KEPT)) + 1)].T)


def _shares(found: _Forked) -> Matrix:
    """Return the mean share of all directions at each fork (F,), which never falls."""
    along = np.einsum("fnd,nd->f", found.moved, found.away) / max((found.away**2).sum(), 1e-300)
    return np.asarray(isotonic_regression(np.maximum(along, 0)).x)


def _scale(
    excess: Matrix, fits: Sequence[Fit], shares: Matrix, inside: Matrix, outside: float
) -> float:
    """Return how much more a picture misses for each unit that it moves, over all forks.

    How far a picture moves towards the mean tells directions and levels apart best, since what
    sharing does to it at random cancels out; how much it then misses is what sharing costs.
    """
    moves = sum(
        float(np.einsum("nd,de,ne->", inside, each.map, inside)) + share * outside
        for share, each in zip(shares, fits, strict=True)
    )
    return max(float(excess.sum()) / max(moves, 1e-300), 1e-6)


def _accumulate(maps: Sequence[Matrix]) -> npt.NDArray[np.float64]:
    """Return symmetric matrices that grow from level to level, close to the maps, (F, r, r)."""
    found = [np.zeros_like(maps[0])]
    for each in maps:
        # What has settled stays so: a level adds what its map has more, and takes nothing back.
        found.append(found[-1] + positive_part(each - found[-1]))
    return np.stack(found[1:])


def _misfits(found: _Forked, readings: Mapping[str, Reading], design: Design) -> dict[int, float]:
    """Return how much plain pictures miss, by K, all on the same prompts."""
    asked = found.asked[: design.plain]
    seen = {steps: readings[f"plain-{steps}"].astype(np.float64) for steps in design.plain_steps}
    seen[design.steps] = found.alone[: design.plain]
    return {K: float(((seen[K] - asked) ** 2).sum(axis=1).mean()) for K in sorted(seen)}


def _describe(
    fits: Sequence[Fit], away: Matrix, moved: npt.NDArray[np.float64], shares: Matrix
) -> dict[str, Any]:
    """Return how many prompts there were, and how well each level's map predicts left-out ones."""
    ranks = [
        float(spearmanr((fit.left_out * away).sum(axis=1), (each * away).sum(axis=1)).statistic)
        for fit, each in zip(fits, moved, strict=True)
    ]
    return {
        "prompts": len(away),
        "rank": away.shape[1],
        "shares": [round(float(each), 4) for each in shares],
        "r2": [round(fit.explained, 4) for fit in fits],
        "spearman": [round(each, 4) for each in ranks],
    }
