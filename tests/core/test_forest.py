"""The forest of a batch: groups, one leaf for equal prompts, keys that follow them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hierdiff_core.errors import InvalidEmbedding, InvalidSetting
from hierdiff_core.forest import Forest, group_prompts
from hierdiff_core.noise import initial_noise
from hierdiff_core.planners import PlanSettings, plan_forest
from hierdiff_core.prompt import Prompt
from hierdiff_core.recipe import Options
from hierdiff_core.schedule import evaluations, make_schedule
from tests.core.recipes import bare_recipe

RECIPE = bare_recipe(steps=10)
WIDE = dataclasses.replace(RECIPE, width=768)


def make_prompts() -> list[Prompt]:
    texts = [f"a {colour} cup" for colour in ("red", "blue", "pink", "teal", "grey")]
    rows = [(text, RECIPE) for text in texts] + [(text, WIDE) for text in texts[:3]]
    rows += [("a red cup ", RECIPE), ("a red cup", RECIPE), ("one of its kind", WIDE)]
    return [Prompt(row, f"ref {row}", *each) for row, each in enumerate(rows, 1)]


def vectors(prompts: list[Prompt]) -> list[np.ndarray]:
    groups = group_prompts(prompts)
    return [
        np.stack([initial_noise(0, key, (8,)).numpy() for key in group.content_keys])
        for group in groups
    ]


def make_forest(prompts: list[Prompt], tau: float = 1.0) -> Forest:
    settings = PlanSettings(planner="paper", linkage="ward", tau=tau)
    return plan_forest(group_prompts(prompts), vectors(prompts), settings)


def test_prompts_share_a_tree_exactly_where_their_recipes_are_equal() -> None:
    groups = group_prompts(make_prompts())
    assert {group.recipe for group in groups} == {RECIPE, WIDE}
    for group in groups:
        assert {prompt.recipe for prompt in group.prompts} == {group.recipe}


def test_equal_prompts_become_one_leaf() -> None:
    forest = make_forest(make_prompts())
    assert sorted(len(group.prompts) for group in forest.groups) == [4, 5]
    assert forest.plan.size == 9


def test_an_evaluation_counts_for_every_pixel_of_its_picture() -> None:
    alone = make_forest(make_prompts(), tau=0.0)
    assert alone.plan.saving == 0.0
    sides = RECIPE.height * (5 * RECIPE.width + 4 * WIDE.width)
    assert alone.pixel_evaluations == RECIPE.steps * sides
    shared = make_forest(make_prompts())
    small = RECIPE.width * RECIPE.height * shared.evaluations
    assert small < shared.pixel_evaluations < alone.pixel_evaluations


@pytest.mark.parametrize(
    ("start", "stop", "passes"), [(0.0, 1.0, 20), (0.5, 1.0, 15), (0.0, 0.2, 12), (0.3, 0.4, 11)]
)
def test_forward_passes_follow_the_interval_of_guidance(
    start: float, stop: float, passes: int
) -> None:
    options = Options({**RECIPE.options, "guidance_start": start, "guidance_stop": stop})
    recipe = dataclasses.replace(RECIPE, options=options)
    plain = dataclasses.replace(RECIPE, guidance=1.0)
    prompts = [dataclasses.replace(each, recipe=recipe) for each in make_prompts()[:5]]
    prompts.append(dataclasses.replace(prompts[0], row=9, recipe=plain))
    forest = make_forest(prompts)
    assert forest.forwards_standard == 5 * passes + plain.steps
    first, last = int(start * recipe.steps), int(stop * recipe.steps)
    taken = [
        (segment, step)
        for segment in forest.plan.segments
        for step in range(segment.start, segment.stop)
    ]
    groups = [group.recipe for group in forest.groups for _ in group.prompts]
    doubled = sum(
        first <= step < last and groups[forest.plan.order[segment.first]] == recipe
        for segment, step in taken
    )
    assert forest.forwards == len(taken) + doubled < forest.forwards_standard


def test_the_order_of_prompts_changes_no_key_and_no_segment() -> None:
    prompts = make_prompts()
    one, other = make_forest(prompts), make_forest(prompts[::-1])
    assert one.keys == other.keys
    assert one.plan == other.plan
    assert [g.content_keys for g in one.groups] == [g.content_keys for g in other.groups]


def test_a_prompt_more_in_one_group_changes_no_key_of_another() -> None:
    prompts = make_prompts()
    fewer = set(make_forest([each for each in prompts if each.recipe == RECIPE]).keys)
    assert fewer < set(make_forest(prompts).keys)


def test_the_cost_is_that_of_the_trees_together() -> None:
    forest = make_forest(make_prompts(), tau=1.3)
    assert forest.plan.evaluations == evaluations(forest.trees, make_schedule(10, 1.3))
    assert len(set(forest.keys)) == len(forest.plan.segments)


def test_a_bad_embedding_is_refused_by_the_row_in_the_source() -> None:
    prompts = make_prompts()
    groups, bad = group_prompts(prompts), vectors(prompts)
    for group, rows in zip(groups, bad, strict=True):
        rows[[prompt.row == 7 for prompt in group.prompts]] = 0
    with pytest.raises(InvalidEmbedding, match=r"^Row 7: its embedding is zero; check"):
        plan_forest(groups, bad, PlanSettings(planner="paper"))


def test_an_unknown_planner_is_refused_with_those_there_are() -> None:
    prompts = make_prompts()
    with pytest.raises(InvalidSetting, match="use one of auto, calibrated, paper"):
        plan_forest(group_prompts(prompts), vectors(prompts), PlanSettings(planner="papier"))
