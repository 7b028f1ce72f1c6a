"""Trees of more rows than a matrix may have, held against the exact tree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hierdiff_core.clustering.distance import average_matrix, ward_matrix
from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.clustering.neighbours import divide, nearest_pairs
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.schedule import evaluations, make_schedule

Vectors = npt.NDArray[np.float64]
every_linkage = pytest.mark.parametrize("linkage", LINKAGES)
EXACT = 60


def template(size: int, seed: int = 0) -> Vectors:
    """Return embeddings as a template's prompts have them: a sum of attributes, and noise."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(1, 32)) + 0.3 * rng.normal(size=(size, 32))
    for values, weight in ((12, 1.0), (8, 0.8), (5, 0.6)):
        vectors = vectors + weight * rng.normal(size=(values, 32))[rng.integers(0, values, size)]
    return np.asarray(vectors)


def check_tree(tree: ClusterTree, size: int) -> None:
    inner = np.arange(size, 2 * size - 1)
    assert sorted(tree.children.ravel()) == list(range(2 * size - 2))
    assert (tree.children < inner[:, None]).all()
    assert sorted(tree.order) == list(range(size))
    below_root = tree.parents >= 0
    assert (tree.heights[tree.parents[below_root]] >= tree.heights[below_root]).all()
    assert (tree.heights[:size] == 0).all()


@every_linkage
@pytest.mark.parametrize("exact", [1, 7, EXACT, 399])
def test_a_tree_in_two_levels_is_a_whole_tree(linkage: str, exact: int) -> None:
    check_tree(build_tree(template(400), linkage, exact=exact), 400)


@every_linkage
def test_two_levels_lose_less_than_a_point_of_saving(linkage: str) -> None:
    vectors = template(400)
    whole, levels = build_tree(vectors, linkage), build_tree(vectors, linkage, exact=EXACT)
    for share in (0.1, 0.3, 0.6):
        schedule = make_schedule(40, share * float(whole.heights[-1]))
        lost = evaluations([levels], schedule) - evaluations([whole], schedule)
        assert lost < 0.01 * 40 * 400


def test_where_all_pairs_are_looked_at_two_levels_make_the_exact_tree() -> None:
    vectors = template(17)  # as many as a row and its neighbours
    whole, levels = build_tree(vectors, "average"), build_tree(vectors, "average", exact=5)
    np.testing.assert_allclose(np.sort(levels.heights), np.sort(whole.heights), atol=1e-9)


@every_linkage
def test_the_order_of_rows_changes_no_tree_in_two_levels(linkage: str) -> None:
    vectors = template(300)
    names = [f"{row:03d}" for row in range(300)]
    shuffled = np.random.default_rng(1).permutation(300)
    one = build_tree(vectors, linkage, names, exact=EXACT)
    other = build_tree(vectors[shuffled], linkage, [names[row] for row in shuffled], exact=EXACT)
    np.testing.assert_array_equal(other.heights[300:], one.heights[300:])
    np.testing.assert_array_equal(shuffled[other.order], one.order)


@every_linkage
def test_duplicates_and_opposites_make_a_tree_in_two_levels(linkage: str) -> None:
    vectors = np.repeat(np.concatenate([template(10), -template(10)]), 10, axis=0)
    tree = build_tree(vectors, linkage, exact=25)
    check_tree(tree, 200)
    np.testing.assert_allclose(np.sort(tree.heights)[:380], 0, atol=1e-6)


@pytest.mark.parametrize("matrix", [ward_matrix, average_matrix])
def test_distances_between_groups_do_not_depend_on_the_blocks(
    matrix: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, starts = template(50), np.array([0, 1, 5, 6, 20, 49])
    whole = matrix(vectors, starts)  # type: ignore[operator]
    monkeypatch.setattr("hierdiff_core.clustering.distance._BLOCK", 150)
    np.testing.assert_allclose(matrix(vectors, starts), whole, rtol=1e-9)  # type: ignore[operator]


@pytest.mark.parametrize("linkage", ["ward", "average"])
def test_groups_go_on_as_the_exact_tree_does_from_them(linkage: str) -> None:
    vectors = template(40)
    children, heights = LINKAGES[linkage].merge(vectors)
    below = [{row} for row in range(40)]
    for left, right in children[:25]:
        below.append(below[left] | below[right])
    groups = [below[top] for top in range(65) if top not in children[:25]]
    order = np.array([row for group in groups for row in sorted(group)])
    starts = np.cumsum([0, *map(len, groups[:-1])])
    _, higher = LINKAGES[linkage].merge(vectors[order], starts)
    np.testing.assert_allclose(higher, heights[25:], atol=1e-9)


@pytest.mark.parametrize("linkage", ["ward", "average"])
def test_single_precision_changes_heights_in_the_sixth_place_at_most(linkage: str) -> None:
    vectors = template(200)
    _, heights = LINKAGES[linkage].merge(vectors)
    _, short = LINKAGES[linkage].merge(vectors.astype(np.float32))
    np.testing.assert_allclose(short, heights, rtol=1e-4, atol=1e-5)


def test_shards_hold_each_row_once() -> None:
    shards, centres = divide(template(4000)[:, :8])
    assert sorted(np.concatenate(shards)) == list(range(4000))
    assert len(shards) == len(centres) > 1


def test_the_nearest_rows_are_found_across_the_borders_of_shards() -> None:
    vectors = template(3100)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    farness = -(units @ units.T)
    np.fill_diagonal(farness, np.inf)
    pairs = set(map(tuple, nearest_pairs(units, 3).tolist()))
    nearest = {tuple(sorted((row, int(near)))) for row, near in enumerate(farness.argmin(axis=1))}
    assert nearest <= pairs


def test_a_tree_of_no_rows_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="a tree needs at least one prompt"):
        build_tree(np.empty((0, 3)))


def test_a_matrix_of_no_rows_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"^Setting exact is 0: use a whole number above 0"):
        build_tree(template(3), exact=0)
