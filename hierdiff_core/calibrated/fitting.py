"""From readings to a calibration: how far each level settles pictures, and what sharing costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.picture_map import fit_picture_map
from hierdiff_core.calibrated.pooling import pool
from hierdiff_core.calibrated.readings import Design, Reading, plain_places
from hierdiff_core.calibrated.ridge import Fit, Matrix, fit_towards, positive_part
from hierdiff_core.noise_levels import Levels

_RANK = 64  # most directions of the basis
_KEPT = 0.999  # of the variance of the conditionings


@dataclass(frozen=True, eq=False)
class _Fork:
    """The measurements of the m prompts that forked after one number of shared steps."""

    away: Matrix  # (m, D) from a prompt's conditioning to the mean of its party
    moved: Matrix  # (m, D) from the embedding of the picture made alone to the one that shared
    excess: npt.NDArray[np.float64]  # (m,) increase of the picture's misfit by sharing
    party: npt.NDArray[np.int64]  # (m,)


def fit_calibration(
    vectors: npt.NDArray[np.floating],
    readings: Mapping[str, Reading],
    design: Design,
    levels: Levels,
    facts: Mapping[str, Any],
    *,
    mapped: bool = False,
) -> Calibration:
    """Return the calibration of readings (`readings.measure`) on prompts of these vectors (n, D).

    `levels` (1 + F,) are the highest level and those that the forks' first own steps landed on.
    Readings are in the space of the vectors, or, `mapped`, in one of their own (E). The figures
    `r2`, `spearman` and `explained` are of predictions for left-out prompts.
    """
    seen = _gather(readings)
    asked = np.asarray(vectors, dtype=np.float64)[: seen.shape[1]]
    if not mapped:
        return _fit(asked, seen, readings, design, levels, facts)
    basis = _basis(asked)
    found = fit_picture_map(asked @ basis, seen[0], design.together)
    made = _fit(found.expected, seen, readings, design, levels, facts)
    pulled = [
        found.pull_back(inside, share, made.basis)
        for inside, share in zip(made.settled, made.shares, strict=True)
    ]
    described = {"rank": basis.shape[1], "explained": round(found.explained, 4)}
    return replace(
        made,
        basis=basis,
        settled=np.stack(pulled),
        shares=made.shares * found.stretch,
        facts={**made.facts, **described},
    )


def _fit(
    asked: Matrix,
    seen: npt.NDArray[np.float64],
    readings: Mapping[str, Reading],
    design: Design,
    levels: Levels,
    facts: Mapping[str, Any],
) -> Calibration:
    """Return the calibration in the space of the pictures, of what was asked of each, (n, E)."""
    forks = [_fork(asked, seen[0], each, design.together) for each in seen[1:]]
    basis = _basis(asked)
    shares = _shares(forks)
    fits = [
        fit_towards(share, fork.away @ basis, fork.moved @ basis, fork.party)
        for share, fork in zip(shares, forks, strict=True)
    ]
    scales = _scales(forks, fits, shares, basis)
    settled = _accumulate([each * fit.map for each, fit in zip(scales, fits, strict=True)])
    described = {
        "prompts": len(asked),
        "rank": basis.shape[1],
        "shares": _rounded(shares),
        "scales": _rounded(scales),
        "r2": _rounded([each.explained for each in fits]),
        "spearman": _rounded(_ranks(forks, fits, basis)),
        "evaluations": design.evaluations(len(asked)),
    }
    return Calibration(
        levels,
        basis,
        np.concatenate([np.zeros((1, *settled.shape[1:])), settled]),
        np.concatenate([[0.0], np.maximum.accumulate(scales * shares)]),
        _misfits(asked, seen[0], readings, design),
        {**facts, **described},
    )


def _gather(readings: Mapping[str, Reading]) -> npt.NDArray[np.float64]:
    """Return embeddings of pictures (1 + F, n, D): alone, then after each fork (NaN: not run)."""
    blocks = sorted((name for name in readings if name.startswith("forked-")), key=_number)
    return np.concatenate([readings[name] for name in blocks], axis=1).astype(np.float64)


def _number(name: str) -> int:
    return int(name.split("-")[1])


def _fork(asked: Matrix, alone: Matrix, forked: Matrix, together: int) -> _Fork:
    here = np.isfinite(forked).all(axis=1)
    parties = asked.reshape(-1, together, asked.shape[1])
    away = (parties.mean(axis=1, keepdims=True) - parties).reshape(asked.shape)
    asked, alone, forked = asked[here], alone[here], forked[here]
    excess = ((forked - asked) ** 2).sum(axis=1) - ((alone - asked) ** 2).sum(axis=1)
    return _Fork(away[here], forked - alone, excess, np.flatnonzero(here) // together)


def _basis(vectors: Matrix) -> Matrix:
    """Return the directions (D, r) that contain nearly all of the vectors' variance."""
    _, strengths, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    held = np.cumsum(strengths**2) / max(float((strengths**2).sum()), 1e-300)
    return np.asarray(axes[: min(_RANK, int(np.searchsorted(held, _KEPT)) + 1)].T)


def _shares(forks: Sequence[_Fork]) -> npt.NDArray[np.float64]:
    """Return the mean share of all directions at each fork (F,), which never falls."""
    spreads = np.maximum([(each.away**2).sum() for each in forks], 1e-300)
    along = np.array([(each.moved * each.away).sum() for each in forks]) / spreads
    return np.asarray(isotonic_regression(np.maximum(along, 0), weights=spreads).x)


def _scales(
    forks: Sequence[_Fork], fits: Sequence[Fit], shares: npt.NDArray[np.float64], basis: Matrix
) -> npt.NDArray[np.float64]:
    """Return the excess per unit of predicted movement, at each fork (F,).

    The movement of a picture towards the mean distinguishes directions and levels best, since the
    random effects of sharing cancel out in it; the excess is what sharing costs. The first forks'
    ratios are mostly noise, so all are pooled; their variances come from the parties.
    """
    pairs = [_ratio(*each, basis) for each in zip(forks, fits, shares, strict=True)]
    ratios, variances = np.array(pairs).T
    return np.maximum(pool(ratios, variances), 1e-6)


def _ratio(fork: _Fork, fit: Fit, share: float, basis: Matrix) -> tuple[float, float]:
    """Return total excess over total predicted movement, and the variance of that ratio."""
    inside = fork.away @ basis
    outside = (fork.away**2).sum() - (inside**2).sum()
    moves = float(np.einsum("nd,de,ne->", inside, fit.map, inside) + share * outside)
    moves = max(moves, 1e-3 * float((fork.away**2).sum()), 1e-300)
    parties = np.bincount(np.unique(fork.party, return_inverse=True)[1], weights=fork.excess)
    variance = len(parties) * parties.var(ddof=1) if len(parties) > 1 else np.inf
    return float(fork.excess.sum()) / moves, float(variance) / moves**2


def _accumulate(maps: Sequence[Matrix]) -> npt.NDArray[np.float64]:
    """Return symmetric matrices that grow from level to level, close to the maps, (F, r, r)."""
    grown = [np.zeros_like(maps[0])]
    for matrix in maps:
        # Settled directions stay settled: a level adds the positive part of the increase alone.
        grown.append(grown[-1] + positive_part(matrix - grown[-1]))
    return np.stack(grown[1:])


def _misfits(
    asked: Matrix, alone: Matrix, readings: Mapping[str, Reading], design: Design
) -> dict[int, float]:
    """Return the misfit of plain pictures, by K.

    All prompts ran with the design's K; for any other K some of them did, and the change of their
    misfit is added to the mean of all.
    """
    missed = ((alone - asked) ** 2).sum(axis=1)
    places = plain_places(len(asked), design)
    misfits = {design.steps: float(missed.mean())}
    for steps in design.plain_steps:
        seen = readings[f"plain-{steps}"].astype(np.float64)
        change = ((seen - asked[places]) ** 2).sum(axis=1) - missed[places]
        misfits[steps] = float(max(0.0, missed.mean() + change.mean()))
    return dict(sorted(misfits.items()))


def _ranks(forks: Sequence[_Fork], fits: Sequence[Fit], basis: Matrix) -> list[float]:
    """Return Spearman's correlation of predicted and measured movement to the mean, by fork."""
    ranks = []
    for fork, fit in zip(forks, fits, strict=True):
        away = fork.away @ basis
        predicted = (fit.left_out * away).sum(axis=1)
        ranks.append(float(spearmanr(predicted, (fork.moved * fork.away).sum(axis=1)).statistic))
    return ranks


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(each), 4) for each in values]
