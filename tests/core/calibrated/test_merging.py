"""Ward's merges of weighted points, against SciPy's linkage, which keeps the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from hierdiff_core.calibrated.merging import chain_merging, merge_by_weighted_ward


def _points(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, 5))


@pytest.mark.parametrize("size", [2, 3, 17, 120])
def test_every_merge_is_one_of_wards_tree(size: int) -> None:
    points = _points(size)
    merging = merge_by_weighted_ward(points, np.ones(size))
    heights = linkage(points, "ward")[:, 2] ** 2 / 2
    assert np.allclose(merging.increases, np.sort(heights))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_price_stops_the_merges_where_a_cut_of_the_whole_tree_lies(part: float) -> None:
    points = _points(90)
    heights = linkage(points, "ward")
    price = np.quantile(heights[:, 2] ** 2 / 2, part)
    labels = merge_by_weighted_ward(points, np.ones(90), float(price) + 1e-9).labels()
    cut = fcluster(heights, np.sqrt(2 * price) + 1e-6, "distance")
    together = labels[:, None] == labels
    assert (together == (cut[:, None] == cut)).all()


def test_a_weight_counts_as_so_many_equal_points() -> None:
    points, weights = _points(30), np.random.default_rng(1).integers(1, 5, 30)
    merging = merge_by_weighted_ward(points, weights.astype(float))
    copies = linkage(np.repeat(points, weights, axis=0), "ward")[:, 2] ** 2 / 2
    assert np.allclose(merging.increases, np.sort(copies)[-29:])


def test_no_merge_comes_before_its_parts() -> None:
    merging = merge_by_weighted_ward(_points(60), np.ones(60))
    assert (merging.children < 60 + np.arange(59)[:, None]).all()
    assert (np.diff(merging.increases) >= 0).all()


def test_equal_points_merge_too() -> None:
    merging = merge_by_weighted_ward(np.ones((9, 2)), np.ones(9))
    assert len(merging.children) == 8
    assert (merging.labels() == 0).all()


def test_a_price_below_zero_merges_nothing() -> None:
    assert len(merge_by_weighted_ward(np.ones((4, 2)), np.ones(4), -1.0).children) == 0


def test_one_point_and_a_chain_need_no_distances() -> None:
    assert len(merge_by_weighted_ward(np.ones((1, 2)), np.ones(1)).children) == 0
    assert len(chain_merging(1).children) == 0
    assert (chain_merging(4).labels() == 0).all()
    assert chain_merging(4).labels(first=1).tolist() == [2, 2, 0, 1]
