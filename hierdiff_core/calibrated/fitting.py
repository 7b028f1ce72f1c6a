"""From readings to a calibration: one kernel map per level, and what deviations come to.

Knows readings, regressions and how well they predict; knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from hierdiff_core.calibrated.calibration import Calibration
from hierdiff_core.calibrated.kernel import Matrix, fit, kernel, spread
from hierdiff_core.calibrated.levels import Levels
from hierdiff_core.calibrated.points import StepPoints
from hierdiff_core.calibrated.readings import Design, Reading, branch_pairs

_RANK = 32  # dimensions of a map at the most
_KEPT = 0.995  # of what a map explains


def fit_calibration(
    vectors: npt.NDArray[np.floating],
    readings: Mapping[str, Reading],
    design: Design,
    levels: Levels,
    branch_levels: Levels,
    facts: Mapping[str, Any],
) -> Calibration:
    """Return the calibration of readings (`readings.measure`) on prompts of these vectors (n, D).

    `levels` are the highest there is and those that the runs came down to, `branch_levels` those
    of the runs that fork. Maps are scaled so that left-out prompts are as far from each other as
    they were measured to be, in the mean. Whatever is said of how well a calibration predicts is
    said of left-out prompts.
    """
    examples = np.asarray(vectors, dtype=np.float64)
    scale = spread(examples)
    kernels = kernel(examples, examples, scale)
    runs = [readings[f"run-{noise}"] for noise in range(design.noises)]
    fits = [_fit_level(kernels, [run[level] for run in runs]) for level in range(len(levels) - 1)]
    rank = max(each[0].shape[1] for each in fits)
    coefficients = np.stack([_widen(each[0], rank) for each in fits])
    left_out = np.stack([_widen(each[1], rank) for each in fits])
    start = np.zeros((1, len(examples), rank))
    made = Calibration(
        levels, examples, scale, np.concatenate([start, coefficients]), (0.0, 1.0), {}
    )
    points = made.place(np.concatenate([start, left_out]), branch_levels)
    link, misfit = _fit_link(points, readings["branches"], design)
    found = _describe(design, len(examples), [each[2] for each in fits], readings["plain"])
    found |= {"rank": rank, "link_misfit": round(misfit, 4)}
    return replace(made, link=link, facts={**facts, **found})


def _describe(
    design: Design, size: int, qualities: Sequence[Mapping[str, float]], plain: Reading
) -> dict[str, Any]:
    """Return what was measured on so many prompts, and how well each level's map predicts it."""
    return {
        "prompts": size,
        "evaluations": design.evaluations(size),
        "r2": [round(each["r2"], 4) for each in qualities],
        "spearman": [round(each["spearman"], 4) for each in qualities],
        "plain": dict(zip(map(str, design.plain_steps), map(float, plain), strict=True)),
        "reference_steps": design.reference_steps,
    }


def _fit_level(kernels: Matrix, runs: Sequence[Reading]) -> tuple[Matrix, Matrix, dict[str, float]]:
    """Return a map's coefficients (n, r), the left-out prompts' points and how good they are."""
    values = np.concatenate(runs, axis=1).astype(np.float64) / np.sqrt(len(runs))
    found = fit(kernels, values)
    mapped = kernels @ found.coefficients
    _, strengths, axes = np.linalg.svd(mapped - mapped.mean(axis=0), full_matrices=False)
    explained = np.cumsum(strengths**2) / max(float((strengths**2).sum()), 1e-300)
    axes = axes[: min(_RANK, int(np.searchsorted(explained, _KEPT)) + 1, len(values))]
    points = found.left_out @ axes.T
    measured, predicted = pdist(values, "sqeuclidean"), pdist(points, "sqeuclidean")
    stretch = np.sqrt(measured.mean() / max(predicted.mean(), 1e-300))
    rank = float(spearmanr(predicted, measured).statistic)
    quality = {"r2": found.explained, "spearman": rank}
    return found.coefficients @ axes.T * stretch, points * stretch, quality


def _fit_link(
    points: StepPoints, branches: Reading, design: Design
) -> tuple[tuple[float, float], float]:
    """Return (a, b) of measured = exp(a) predicted^b, and the misfit: the spread of log errors.

    Sharing the steps 1..d with one other prompt moves both to the middle between their points, so
    that the prediction is the sum over k <= d of a quarter of the points' squared distance.
    """
    pairs = np.array(branch_pairs(design))
    gaps = [points.at(k)[pairs[:, 0]] - points.at(k)[pairs[:, 1]] for k in range(1, points.steps)]
    predicted = np.cumsum([(each**2).sum(axis=1) / 4 for each in gaps], axis=0).T
    x = np.log(np.maximum(predicted, 1e-12)).ravel()
    y = np.log(np.maximum(branches.astype(np.float64), 1e-12)).ravel()
    b, a = np.polyfit(x, y, 1)
    return (float(a), float(b)), float((y - a - b * x).std())


def _widen(matrix: Matrix, columns: int) -> Matrix:
    return np.pad(matrix, ((0, 0), (0, columns - matrix.shape[1])))
