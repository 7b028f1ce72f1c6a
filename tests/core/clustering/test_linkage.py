"""The three linkages against their definitions, and what must not change a tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from hierdiff_core.clustering.linkage import (
    LINKAGES,
    merge_by_average,
    merge_by_centroid,
    merge_by_ward,
)
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.errors import InvalidEmbedding, InvalidSetting

Vectors = npt.NDArray[np.float64]
every_linkage = pytest.mark.parametrize("linkage", LINKAGES)


def random_vectors(size: int, dimensions: int = 8, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(size, dimensions))


def cosine_distance(a: Vectors, b: Vectors) -> float:
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def merged_members(children: npt.NDArray[np.int64]) -> list[frozenset[int]]:
    below = [frozenset([leaf]) for leaf in range(len(children) + 1)]
    for left, right in children:
        below.append(below[left] | below[right])
    return below[len(children) + 1 :]


def brute_force_centroid(vectors: Vectors) -> list[tuple[frozenset[int], float]]:
    """Merge the pair of clusters whose mean embeddings are closest, again and again (Eq. 3-4)."""
    clusters = [frozenset([row]) for row in range(len(vectors))]
    merges = []
    while len(clusters) > 1:
        means = [vectors[sorted(each)].mean(axis=0) for each in clusters]
        pairs = [(a, b) for b in range(len(clusters)) for a in range(b)]
        distances = [cosine_distance(means[a], means[b]) for a, b in pairs]
        a, b = pairs[int(np.argmin(distances))]
        merges.append((clusters[a] | clusters[b], min(distances)))
        clusters = [each for i, each in enumerate(clusters) if i not in (a, b)]
        clusters.append(merges[-1][0])
    return merges


@pytest.mark.parametrize(("size", "dimensions"), [(2, 3), (3, 2), (25, 2), (40, 64), (70, 8)])
def test_centroid_linkage_merges_what_brute_force_merges(size: int, dimensions: int) -> None:
    vectors = random_vectors(size, dimensions)
    children, heights = merge_by_centroid(vectors)
    wanted = brute_force_centroid(vectors)
    assert merged_members(children) == [members for members, _ in wanted]
    np.testing.assert_allclose(heights, [height for _, height in wanted], atol=1e-12)


def test_centroid_linkage_inverts_and_its_scores_do_not() -> None:
    vectors = random_vectors(60, 16)
    _, heights = merge_by_centroid(vectors)
    assert (np.diff(heights) < 0).any()
    assert_monotone(build_tree(vectors, "centroid"))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.tuples(*[st.integers(-2, 2)] * 2), min_size=2, max_size=9))
def test_each_centroid_merge_is_a_closest_pair_even_where_distances_tie(
    grid: Sequence[tuple[int, int]],
) -> None:
    vectors = np.array([row for row in grid if any(row)] + [(1, 0), (0, 1)], dtype=float)
    children, heights = merge_by_centroid(vectors)
    sums = dict(enumerate(vectors))
    for merge, (left, right) in enumerate(children):
        if any(np.linalg.norm(each) < 1e-9 for each in sums.values()):
            return  # opposite vectors: a mean without direction has no cosine distance
        closest = min(cosine_distance(sums[a], sums[b]) for a in sums for b in sums if a < b)
        assert cosine_distance(sums[left], sums[right]) == pytest.approx(closest, abs=1e-9)
        assert heights[merge] == pytest.approx(closest, abs=1e-9)
        sums[len(vectors) + merge] = sums.pop(left) + sums.pop(right)


def test_centroid_linkage_may_spoil_only_its_own_matrix() -> None:
    vectors = random_vectors(12)
    before = vectors.copy()
    merge_by_centroid(vectors)
    np.testing.assert_array_equal(vectors, before)


@pytest.mark.parametrize("size", [2, 3, 50])
def test_average_linkage_has_the_heights_of_upgma_on_cosine_distances(size: int) -> None:
    vectors = random_vectors(size)
    children, heights = merge_by_average(vectors)
    wanted = hierarchy.linkage(pdist(vectors, "cosine"), "average")
    np.testing.assert_allclose(heights, wanted[:, 2], atol=1e-12)
    assert merged_members(children) == merged_members(wanted[:, :2].astype(int))


def test_average_linkage_is_one_minus_the_product_of_mean_units() -> None:
    vectors = random_vectors(30)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    tree = build_tree(vectors, "average")
    for merge, (left, right) in enumerate(tree.children):
        means = [units[tree.members(each)].mean(axis=0) for each in (left, right)]
        assert tree.heights[tree.size + merge] == pytest.approx(1 - means[0] @ means[1])


@pytest.mark.parametrize("size", [2, 3, 50])
def test_ward_linkage_is_the_published_codes(size: int) -> None:
    vectors = random_vectors(size)
    children, heights = merge_by_ward(vectors)
    wanted = hierarchy.linkage(pdist(vectors, "cosine"), "ward")
    np.testing.assert_allclose(heights, wanted[:, 2], atol=1e-12)
    np.testing.assert_array_equal(children, wanted[:, :2])


@every_linkage
def test_scores_never_fall_from_a_node_to_its_parent(linkage: str) -> None:
    for seed in range(5):
        assert_monotone(build_tree(random_vectors(40, 6, seed), linkage))


def assert_monotone(tree: ClusterTree) -> None:
    assert (tree.heights[: tree.size] == 0).all()
    below_root = tree.parents >= 0
    assert (tree.heights[tree.parents[below_root]] >= tree.heights[below_root]).all()


@every_linkage
def test_scaling_a_vector_changes_ward_and_average_trees_in_no_way(linkage: str) -> None:
    vectors = random_vectors(20)
    scaled = vectors * (3.0 if linkage == "centroid" else np.geomspace(0.01, 100, 20)[:, None])
    first, second = build_tree(vectors, linkage), build_tree(scaled, linkage)
    np.testing.assert_allclose(second.heights[20:], first.heights[20:], rtol=1e-9)


def named_clusters(tree: ClusterTree, names: Sequence[str]) -> list[tuple[list[str], float]]:
    nodes = range(tree.size, 2 * tree.size - 1)
    return [(sorted(names[m] for m in tree.members(c)), float(tree.heights[c])) for c in nodes]


@every_linkage
@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data(), grid=st.lists(st.tuples(*[st.integers(-1, 1)] * 3), min_size=1, max_size=14))
def test_the_order_of_rows_changes_nothing_however_distances_tie(
    linkage: str, data: st.DataObject, grid: Sequence[tuple[int, int, int]]
) -> None:
    vectors = np.array([row for row in grid if any(row)] or [(1, 0, 0)], dtype=float)
    names = [f"{row:03d}" for row in range(len(vectors))]
    shuffled = data.draw(st.permutations(range(len(vectors))))
    one = build_tree(vectors, linkage, names)
    other = build_tree(vectors[shuffled], linkage, [names[row] for row in shuffled])
    assert named_clusters(other, [names[row] for row in shuffled]) == named_clusters(one, names)
    assert [shuffled[leaf] for leaf in other.order] == list(one.order)


@every_linkage
def test_without_keys_the_order_of_rows_changes_no_score(linkage: str) -> None:
    vectors = random_vectors(6, 3).repeat([1, 2, 1, 3, 1, 1], axis=0)
    shuffled = np.random.default_rng(3).permutation(len(vectors))
    one, other = build_tree(vectors, linkage), build_tree(vectors[shuffled], linkage)
    np.testing.assert_array_equal(other.heights, one.heights)


@every_linkage
def test_exact_duplicates_merge_first_and_at_no_distance(linkage: str) -> None:
    tree = build_tree(random_vectors(4).repeat(3, axis=0), linkage)
    np.testing.assert_allclose(tree.heights[12:20], 0, atol=1e-7)
    assert (tree.heights[20:] > 0.01).all()
    assert {tuple(sorted(tree.members(c))) for c in range(12, 20)} >= {(0, 1, 2), (9, 10, 11)}


@every_linkage
def test_opposite_vectors_make_a_tree_of_finite_scores(linkage: str) -> None:
    a, b = np.eye(2)
    tree = build_tree(np.stack([a, -a, b, -b, a, -a, a + b, -a - b]), linkage)
    assert np.isfinite(tree.heights).all()
    assert_monotone(tree)
    assert sorted(tree.members(14)) == list(range(8))


@every_linkage
def test_one_prompt_is_a_tree_of_one_leaf(linkage: str) -> None:
    tree = build_tree(random_vectors(1), linkage)
    assert (tree.size, list(tree.heights), list(tree.order)) == (1, [0.0], [0])
    assert tree.parents.tolist() == [-1]


@every_linkage
def test_two_prompts_merge_at_their_cosine_distance(linkage: str) -> None:
    vectors = random_vectors(2)
    tree = build_tree(vectors, linkage)
    assert tree.heights.tolist() == pytest.approx([0, 0, cosine_distance(*vectors)])


@every_linkage
def test_each_nodes_members_are_those_of_its_children(linkage: str) -> None:
    tree = build_tree(random_vectors(33), linkage)
    below = merged_members(tree.children)
    assert [frozenset(tree.members(33 + merge)) for merge in range(32)] == below
    assert sorted(tree.order) == list(range(33))


@every_linkage
@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "is not finite"), (np.inf, "is not finite")]
)
def test_a_vector_that_is_not_finite_is_refused_by_its_row(
    linkage: str, value: float, reason: str
) -> None:
    vectors = random_vectors(5)
    vectors[3, 2] = value
    with pytest.raises(InvalidEmbedding, match=r"^Row 3: its embedding is not finite; check"):
        build_tree(vectors, linkage)


@every_linkage
@pytest.mark.parametrize(
    ("scale", "kind", "reason"),
    [
        (1e-200, np.float64, "has a norm below 1e-12"),
        (1e-25, np.float32, "has a norm below 1e-12"),
        (1e200, np.float64, "has a norm above 1e\\+12"),
        (1e25, np.float32, "has a norm above 1e\\+12"),
    ],
)
def test_a_vector_whose_square_is_no_number_is_refused_by_its_row(
    linkage: str, scale: float, kind: type[np.floating], reason: str
) -> None:
    vectors = random_vectors(6).astype(kind)
    vectors[4] *= scale
    with pytest.raises(InvalidEmbedding, match=f"^Row 4: its embedding {reason}; check"):
        build_tree(vectors, linkage)


@every_linkage
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_vectors_of_any_norm_that_is_taken_make_the_tree_of_their_directions(
    linkage: str, kind: type[np.floating]
) -> None:
    vectors = random_vectors(12).astype(kind)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = build_tree(vectors, linkage)
    for scale in (2.0**-39, 2.0**39):
        found = build_tree((vectors * scale).astype(kind), linkage)
        assert (found.children == wanted.children).all()
        np.testing.assert_allclose(found.heights, wanted.heights, rtol=1e-5)


def test_a_vector_of_zeros_is_refused_by_its_row() -> None:
    with pytest.raises(InvalidEmbedding, match=r"^Row 1: its embedding is zero; check"):
        build_tree(np.array([[1.0, 0], [0, 0]]))


def test_an_unknown_linkage_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidSetting, match="'single': use one of ward, average, centroid"):
        build_tree(random_vectors(3), "single")
