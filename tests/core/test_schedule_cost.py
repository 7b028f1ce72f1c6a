"""What a plan costs, against the paper's step loop written down once more, word for word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff_core.clustering.linkage import LINKAGES
from hierdiff_core.clustering.tree import ClusterTree, build_tree
from hierdiff_core.models.kandinsky22 import load_encoder
from hierdiff_core.models.recipes import make_recipe
from hierdiff_core.plan import Plan, make_plan
from hierdiff_core.prompt import Prompt
from hierdiff_core.schedule import Schedule, evaluations, make_schedule

every_linkage = pytest.mark.parametrize("linkage", LINKAGES)


def step_loop(tree: ClusterTree, schedule: Schedule) -> list[set[int]]:
    """Return the active nodes of each step: lines 3-10 of Algorithm 1, with Eq. 6 as an argmin."""
    parents, scores = tree.parents, tree.heights
    above = [np.inf if parent < 0 else scores[parent] for parent in parents]  # a dummy root
    active = []
    for phi in schedule.phi():
        c_k = set()
        for y in range(tree.size):
            holding = [y]
            while parents[holding[-1]] >= 0:
                holding.append(int(parents[holding[-1]]))
            allowed = [c for c in holding if above[c] >= phi]
            c_k.add(min(allowed, key=lambda c: scores[c]))  # the smallest cluster, where equal
        active.append(c_k)
    return active


def taus(tree: ClusterTree, steps: int) -> list[float]:
    """Return tau at 0, between the scores, so that phi meets a score exactly, and above them."""
    root = float(tree.heights[-1])
    meeting = [float(2 * score) for score in tree.heights[tree.size :: max(1, tree.size // 4)]]
    return [0.0, 0.3 * root, 0.9 * root, root, *meeting, 1.5 * root + 0.1, 40.0 * root + 1]


def check(tree: ClusterTree, schedule: Schedule) -> Plan:
    plan = make_plan(tree, schedule)
    wanted = step_loop(tree, schedule)
    assert [{s.node for s in plan.active(k)} for k in range(1, schedule.steps + 1)] == wanted
    assert plan.evaluations == sum(map(len, wanted))
    assert evaluations([tree], schedule) == plan.evaluations
    return plan


@every_linkage
@pytest.mark.parametrize(("size", "steps"), [(1, 1), (1, 8), (2, 1), (2, 8), (3, 2), (40, 40)])
def test_cost_and_active_nodes_equal_the_step_loop_on_random_vectors(
    linkage: str, size: int, steps: int
) -> None:
    vectors = np.random.default_rng(size).normal(size=(size, 12))
    tree = build_tree(vectors, linkage)
    for tau in taus(tree, steps):
        check(tree, make_schedule(steps, tau))


@every_linkage
def test_cost_and_active_nodes_equal_the_step_loop_with_exact_duplicates(linkage: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(7, 5)).repeat([1, 3, 2, 1, 4, 1, 2], axis=0)
    tree = build_tree(vectors, linkage)
    for tau in taus(tree, 10):
        check(tree, make_schedule(10, tau))


@every_linkage
def test_cost_and_active_nodes_equal_the_step_loop_on_the_miniatures_embeddings(
    linkage: str, catalogue: npt.NDArray[np.float32]
) -> None:
    tree = build_tree(catalogue, linkage)
    costs = [check(tree, make_schedule(40, tau)).evaluations for tau in taus(tree, 40)[:4]]
    assert costs[0] == 40 * len(catalogue)
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0] / 2


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    grid=st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=1, max_size=12),
    linkage=st.sampled_from(sorted(LINKAGES)),
    steps=st.integers(1, 9),
    share=st.floats(0, 1.2),
)
def test_cost_equals_the_step_loop_where_distances_tie(
    grid: Sequence[tuple[int, ...]], linkage: str, steps: int, share: float
) -> None:
    vectors = np.array([row for row in grid if any(row)] or [(1, 0, 0)], dtype=float)
    tree = build_tree(vectors, linkage)
    check(tree, make_schedule(steps, share * float(tree.heights[-1])))


@every_linkage
def test_cost_never_rises_with_tau(linkage: str) -> None:
    tree = build_tree(np.random.default_rng(1).normal(size=(30, 6)), linkage)
    costs = [evaluations([tree], make_schedule(20, tau)) for tau in np.linspace(0, 5, 200)]
    assert costs[0] == 30 * 20
    assert costs == sorted(costs, reverse=True)


@every_linkage
def test_without_a_tau_every_picture_takes_all_steps_alone(linkage: str) -> None:
    tree = build_tree(np.random.default_rng(2).normal(size=(9, 4)), linkage)
    plan = check(tree, make_schedule(5, 0.0))
    assert [(s.start, s.stop, s.parent, s.size) for s in plan.segments] == [(0, 5, None, 1)] * 9
    assert plan.saving == 0


@every_linkage
def test_far_above_the_roots_score_all_share_all_steps_but_the_last(linkage: str) -> None:
    tree = build_tree(np.random.default_rng(2).normal(size=(9, 4)), linkage)
    plan = check(tree, make_schedule(5, 1e6))
    assert plan.roots == (0,)
    assert plan.evaluations == 4 + 9


@pytest.fixture(scope="session")
def catalogue() -> npt.NDArray[np.float32]:
    """Return the shipped prior's embeddings of sixty catalogue prompts."""
    from hierdiff_core import miniature

    if not (miniature.PRIOR / "model_index.json").is_file():
        pytest.skip("the miniature's weights are not in this checkout")
    recipe = make_recipe(miniature.MODEL, {"prior_steps": 5})
    prior = load_encoder(recipe, "cpu")
    texts = [
        f"a photo of a {colour} {pattern} {product} {place}"
        for colour in ("red", "blue", "green", "white", "black")
        for pattern in ("striped", "plain", "dotted")
        for product in ("mug", "chair")
        for place in ("in a studio", "on the beach")
    ]
    prompts = [Prompt(row, str(row), text, recipe) for row, text in enumerate(texts, 1)]
    return np.stack([embedding.vector for embedding in prior.embed(prompts)])
