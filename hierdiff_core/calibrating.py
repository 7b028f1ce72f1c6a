"""From readings to a calibration: one kernel map per level, and what a deviation there matters.

Knows readings, regressions and how well they predict; knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from hierdiff_core.calibration import Calibration
from hierdiff_core.kernel import Matrix, fit, kernel, spread
from hierdiff_core.levels import Levels
from hierdiff_core.readings import Design, Reading, branch_pairs

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

    `levels` are those of the maps, `branch_levels` those of the runs that fork. Maps are scaled so
    that left-out prompts are as far from each other as they were measured to be, in the mean.
    Whatever is said of how well it predicts is said of left-out prompts.
    """
    examples = np.asarray(vectors, dtype=np.float64)
    scale = spread(examples)
    kernels = kernel(examples, examples, scale)
    fits = [_fit_level(kernels, readings[f"level-{each}"]) for each in range(design.levels)]
    rank = max(each[0].shape[1] for each in fits)
    coefficients = np.stack([_widen(each[0], rank) for each in fits])
    left_out = np.stack([_widen(each[1], rank) for each in fits])
    calibration = Calibration(levels, examples, scale, coefficients, (0.0, 0.0), {})
    influence, misfit = _fit_influence(
        calibration, left_out, branch_levels, readings["branches"], design
    )
    plain = dict(zip(map(str, design.plain_steps), map(float, readings["plain"]), strict=True))
    found = {
        "prompts": len(examples),
        "evaluations": design.evaluations(len(examples)),
        "r2": [round(each[2]["r2"], 4) for each in fits],
        "spearman": [round(each[2]["spearman"], 4) for each in fits],
        "rank": rank,
        "branch_misfit": round(misfit, 4),  # deviation of log(measured / predicted)
        "plain": plain,
        "reference_steps": design.reference_steps,
    }
    return replace(calibration, influence=influence, facts={**facts, **found})


def _fit_level(kernels: Matrix, reading: Reading) -> tuple[Matrix, Matrix, dict[str, float]]:
    """Return a map's coefficients (n, r), the left-out prompts' points and how good they are."""
    probes, size = reading.shape[:2]
    values = np.concatenate(list(reading), axis=1).astype(np.float64) / np.sqrt(probes)
    found = fit(kernels, values)
    mapped = kernels @ found.coefficients
    _, strengths, axes = np.linalg.svd(mapped - mapped.mean(axis=0), full_matrices=False)
    explained = np.cumsum(strengths**2) / max(float((strengths**2).sum()), 1e-300)
    axes = axes[: min(_RANK, int(np.searchsorted(explained, _KEPT)) + 1, size)]
    points = found.left_out @ axes.T
    measured, predicted = pdist(values, "sqeuclidean"), pdist(points, "sqeuclidean")
    stretch = np.sqrt(measured.mean() / max(predicted.mean(), 1e-300))
    rank = float(spearmanr(predicted, measured).statistic)
    quality = {"r2": found.explained, "spearman": rank}
    return found.coefficients @ axes.T * stretch, points * stretch, quality


def _fit_influence(
    calibration: Calibration,
    left_out: Matrix,
    levels: Levels,
    branches: Reading,
    design: Design,
) -> tuple[tuple[float, float], float]:
    """Return (a, b) of rho = exp(a + b log sigma), and the spread of log errors it leaves.

    Sharing the steps 1..d with a prompt at distance |F_k - F_k'| moves both by half of it, so that
    final latents should part by sum over k <= d of rho_k w_k |F_k - F_k'|^2 / 4.
    """
    points = calibration.place(left_out, levels)
    pairs = np.array(branch_pairs(design))
    gaps = [points.at(k)[pairs[:, 0]] - points.at(k)[pairs[:, 1]] for k in range(1, len(levels))]
    halves = np.stack([(each**2).sum(axis=1) / 4 for each in gaps], axis=1)
    measured = np.log(np.maximum(branches.astype(np.float64), 1e-12))
    heights = np.log(levels[:-1])

    def errors(b: float) -> Matrix:
        raised = np.cumsum(halves * np.exp(b * heights), axis=1)
        return np.asarray(measured - np.log(np.maximum(raised, 1e-12)))

    b = float(minimize_scalar(lambda b: errors(b).var(), bounds=(-1, 3), method="bounded").x)
    return (float(errors(b).mean()), b), float(errors(b).std())


def _widen(matrix: Matrix, columns: int) -> Matrix:
    return np.pad(matrix, ((0, 0), (0, columns - matrix.shape[1])))
