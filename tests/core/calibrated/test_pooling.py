"""Pooling: noisy values are drawn to their mean as far as noise explains that they differ."""

from __future__ import annotations

import numpy as np

from hierdiff_core.calibrated.pooling import pool


def test_values_that_differ_by_no_more_than_noise_are_all_their_mean() -> None:
    pooled = pool(np.array([1.0, 1.2, 0.8]), np.full(3, 1.0))
    assert np.allclose(pooled, 1.0)


def test_values_without_noise_are_kept() -> None:
    values = np.array([0.5, 2.0, 1.0])
    assert np.allclose(pool(values, np.zeros(3)), values)


def test_the_noisier_a_value_the_nearer_it_comes_to_the_mean() -> None:
    values, variances = np.array([1.0, 3.0, 1.0, 3.0]), np.array([0.01, 0.01, 0.5, 0.5])
    pooled = pool(values, variances)
    assert (np.diff(np.abs(pooled - values)[[0, 2]]) > 0).all()
    assert (np.abs(pooled - 2) <= np.abs(values - 2)).all()


def test_pooled_values_are_nearer_the_truth_in_the_mean() -> None:
    rng = np.random.default_rng(0)
    variances, before, after = np.array([0.05, 0.2, 1.0, 2.0, 0.1, 0.4]), 0.0, 0.0
    for _ in range(300):
        truth = 2 + 0.4 * rng.normal(size=6)
        seen = truth + np.sqrt(variances) * rng.normal(size=6)
        before += float(((seen - truth) ** 2).sum())
        after += float(((pool(seen, variances) - truth) ** 2).sum())
    assert after < 0.5 * before


def test_a_single_value_is_its_own_mean() -> None:
    assert pool(np.array([1.5]), np.array([0.3])) == 1.5
