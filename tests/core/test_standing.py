"""Nights that build on nights: what stands is kept and gone on from, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hierdiff_core.budget import Budget
from hierdiff_core.embedding import Conditioning
from hierdiff_core.forest import Forest, Group, group_prompts
from hierdiff_core.planners import PlanSettings, Stand, extend_forest, plan_forest
from hierdiff_core.prompt import Prompt, content_key
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import make_solver
from hierdiff_core.standing import (
    Founder,
    KnownFounders,
    StandingForest,
    StandingSegment,
    find_substitutes,
    make_standing,
)
from tests.core.gaussian import KANDINSKY, Gaussian
from tests.core.recipes import bare_recipe

STEPS = 12
RECIPE = bare_recipe(steps=STEPS)
PAPER = PlanSettings(Budget(saving=0.5), planner="paper")


def prompts(*numbers: int) -> list[Prompt]:
    return [Prompt(number + 1, f"ref {number}", f"thing {number}", RECIPE) for number in numbers]


def vector(prompt: Prompt) -> np.ndarray:
    """Return a point near one of eight centres, the same for the same prompt."""
    number = int(prompt.text.removeprefix("thing "))
    centre = np.random.default_rng(number % 8).normal(size=16)
    return centre + 0.3 * np.random.default_rng(1000 + number).normal(size=16)


def vectors(group: Group) -> np.ndarray:
    return np.stack([vector(prompt) for prompt in group.prompts])


def first_night(*numbers: int, settings: PlanSettings = PAPER) -> Forest:
    groups = group_prompts(prompts(*numbers))
    return plan_forest(groups, [vectors(group) for group in groups], settings)


def standing(forest: Forest, lost: frozenset[int] = frozenset()) -> StandingForest:
    """Return what a night leaves behind once it has been made, but for some lost objects."""
    leaves = [Founder(key, key) for group in forest.groups for key in group.content_keys]
    leaves += forest.guests
    return make_standing(
        StandingSegment(
            forest.keys[segment.id],
            None if segment.parent is None else forest.keys[segment.parent],
            segment.start,
            segment.stop,
            tuple(leaves[leaf] for leaf in forest.plan.founders(segment)),
            segment.id not in lost,
        )
        for segment in forest.plan.segments
    )


def next_night(
    before: StandingForest, like: Forest, *numbers: int, settings: PlanSettings = PAPER
) -> Forest:
    known = {content_key(prompt): prompt for prompt in prompts(*range(400))}
    (group,) = group_prompts(prompts(*numbers))
    pictures = before.pictures(STEPS)
    kept = {leaf: pictures[key] for leaf, key in enumerate(group.content_keys) if key in pictures}
    new = tuple(leaf for leaf in range(len(group.prompts)) if leaf not in kept)
    rows = np.stack([vector(known[each.content_key]) for each in before.prompts])
    stand = Stand(before, KnownFounders(before, rows), kept, new, vectors(group)[list(new)])
    return extend_forest([group], [stand], settings, like.plan)


def path_keys(forest: Forest, text: str) -> list[str]:
    keys = [key for group in forest.groups for key in group.content_keys]
    leaf = keys.index(content_key(prompts(int(text))[0]))
    return [forest.keys[each.id] for each in forest.plan.path(forest.plan.leaf_segment(leaf))]


def test_the_same_rows_stand_on_themselves_and_cost_nothing() -> None:
    one = first_night(*range(40))
    again = next_night(standing(one), one, *range(40))
    assert again.evaluations == 0
    assert sorted(again.keys) == sorted(one.keys)
    assert again.plan.evaluations == one.plan.evaluations
    assert (again.standing.kept, again.guests) == (40, ())
    assert all(segment.founders is None for segment in again.plan.segments)


@pytest.mark.parametrize("planner", ["paper"])
def test_a_changed_row_changes_no_other_row(planner: str) -> None:
    one = first_night(*range(40))
    two = next_night(standing(one), one, *range(1, 40), 48, 49)
    for number in range(1, 40):
        assert path_keys(two, str(number)) == path_keys(one, str(number))
    assert two.standing.kept == 39
    assert 0 < two.evaluations < 2 * STEPS


def test_members_of_a_plan_that_stands_still_partition_the_leaves_at_every_step() -> None:
    one = first_night(*range(40))
    two = next_night(standing(one), one, *range(5, 40), *range(80, 95))
    for k in range(1, STEPS + 1):
        taken = [leaf for segment in two.plan.active(k) for leaf in two.plan.members(segment)]
        assert sorted(taken) == list(range(two.plan.size))
    for segment in two.plan.segments:
        parent = segment.parent
        start = 0 if parent is None else two.plan.segments[parent].stop
        assert segment.start == start
        assert parent is None or parent < segment.id


def test_a_new_row_goes_on_from_the_deepest_split_that_the_thresholds_allow() -> None:
    one = first_night(*range(40))
    two = next_night(standing(one), one, *range(40), 40)
    joined = two.plan.path(two.plan.leaf_segment(two.groups[0].content_keys.index(_key(40))))
    assert [segment.id in two.stored for segment in joined] == [True] * (len(joined) - 1) + [False]
    phi = np.array([one.plan.tau * (1 - k / STEPS) for k in range(1, STEPS + 1)])
    units = {n: _unit(vector(prompts(n)[0])) for n in range(41)}
    number_of = {_key(n): n for n in range(41)}
    allowed = []
    for segment in one.plan.segments:
        path = one.plan.path(segment)
        heights = []
        for each in path:
            members = [number_of[one.groups[0].content_keys[m]] for m in one.plan.members(each)]
            mean = np.mean([units[m] for m in members], axis=0)
            heights.append((1 - units[40] @ mean, phi[each.stop - 1]))
        if segment.stop < STEPS and all(height < limit for height, limit in heights):
            allowed.append(segment.stop)
    assert joined[-1].start == max(allowed, default=0)


def test_new_rows_share_steps_with_each_other_below_a_split() -> None:
    one = first_night(*range(0, 40, 8), *range(1, 40, 8))
    many = range(40, 120, 8)
    together = next_night(standing(one), one, *many)
    alone = sum(next_night(standing(one), one, number).evaluations for number in many)
    assert together.evaluations < alone


def test_a_split_whose_object_is_gone_is_not_offered() -> None:
    one = first_night(*range(40))
    splits = frozenset(s.id for s in one.plan.segments if s.stop < STEPS)
    two = next_night(standing(one, lost=splits), one, *range(40), 40)
    assert (two.standing.kept, two.standing.fresh) == (40, 1)
    assert two.evaluations >= STEPS


def test_founders_that_are_gone_still_steer_what_stands() -> None:
    one = first_night(*range(40))
    two = next_night(standing(one), one, *range(20, 40))
    assert {guest.content_key for guest in two.guests} <= {_key(n) for n in range(20)}
    three = next_night(standing(two), one, *range(20, 40), 44)
    assert set(path_keys(two, "25")) == set(path_keys(three, "25"))


def test_a_row_that_comes_back_finds_its_picture() -> None:
    one = first_night(*range(40))
    two = next_night(standing(one), one, *range(39))
    both = [*_segments(standing(one)), *_segments(standing(two))]
    three = next_night(make_standing(both), one, *range(40))
    assert three.evaluations == 0


def test_without_joins_new_rows_start_from_noise_and_pictures_stay() -> None:
    one = first_night(*range(40))
    fresh = next_night(standing(one), one, *range(40), 40, settings=replace(PAPER, joins=False))
    assert (fresh.standing.kept, fresh.standing.joined, fresh.standing.fresh) == (40, 0, 1)
    assert fresh.evaluations == STEPS


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmsolver++"])
def test_a_joined_row_goes_on_as_if_its_founders_had_been_denoised_anew(name: str) -> None:
    denoiser = Gaussian(KANDINSKY)
    solver = make_solver(name, denoiser.noise_schedule, STEPS)
    one = first_night(*range(40))
    before = standing(one)
    two = next_night(before, one, *range(40), 40)
    states = {end.segment.id: end.state for end in run(_job(one), denoiser, solver)}
    place = {key: segment for segment, key in enumerate(one.keys)}
    stored = {each: states[place[two.keys[each]]] for each in two.stored}
    left = frozenset(range(len(two.keys))) - two.stored
    (end,) = run(_job(two, left), denoiser, solver, stored)
    # All of it again, from noise: the founders steer what has no member of theirs any more.
    whole = {e.segment.id: e.state for e in run(_job(two), denoiser, solver)}
    assert torch.allclose(whole[end.segment.id].latents, end.state.latents, atol=1e-5)
    for segment in two.stored:
        kept = states[place[two.keys[segment]]].latents
        assert torch.allclose(whole[segment].latents, kept, atol=1e-5)


def _job(forest: Forest, only: frozenset[int] | None = None) -> Job:
    known = {content_key(prompt): prompt for prompt in prompts(*range(400))}
    keys = [*forest.groups[0].content_keys, *(guest.content_key for guest in forest.guests)]
    rows = np.stack([np.tile(vector(known[key]), 2) for key in keys]).astype(np.float32)
    return Job(forest.plan, Conditioning({"middle": torch.from_numpy(rows)}), keys, only=only)


def _key(number: int) -> str:
    return content_key(prompts(number)[0])


def _unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def _segments(forest: StandingForest) -> list[StandingSegment]:
    return [
        StandingSegment(
            key,
            None if parent < 0 else forest.keys[parent],
            int(start),
            int(stop),
            tuple(forest.prompts[each] for each in founders),
            bool(stored),
        )
        for key, parent, start, stop, founders, stored in zip(
            forest.keys,
            forest.parents.tolist(),
            forest.starts,
            forest.stops,
            forest.founders,
            forest.stored,
            strict=True,
        )
    ]


def test_a_picture_that_a_night_under_way_is_making_is_waited_for_and_not_planned_anew() -> None:
    one = first_night(*range(40))
    ends = [one.plan.leaf_segment(leaf).id for leaf in range(20)]
    coming = replace_coming(standing(one, frozenset(ends)), one, ends)
    again = next_night(coming, one, *range(40))
    assert sorted(again.keys) == sorted(one.keys)
    assert again.evaluations == sum(one.plan.segments[end].steps for end in ends)
    assert again.standing.kept == 20


def replace_coming(forest: StandingForest, night: Forest, segments: list[int]) -> StandingForest:
    keys = {night.keys[each] for each in segments}
    return replace(forest, coming=np.array([key in keys for key in forest.keys]))


def test_a_lost_founder_counts_as_the_mean_of_those_it_steered_its_smallest_segment_with() -> None:
    a, b, c, d = (Founder(name, name) for name in "abcd")
    forest = make_standing(
        [
            StandingSegment("top", None, 0, 2, (a, b, c), stored=True),
            StandingSegment("pair", "top", 2, 4, (a, b), stored=True),
            StandingSegment("own", "pair", 4, 6, (a,), stored=True),
            StandingSegment("other", None, 0, 6, (d,), stored=True),
        ]
    )
    row = {founder: row for row, founder in enumerate(forest.prompts)}
    assert find_substitutes(forest, [row[a], row[d]]) == {row[a]: (row[b],)}
    assert find_substitutes(forest, [row[a], row[b]]) == {row[a]: (row[c],), row[b]: (row[c],)}
    assert find_substitutes(forest, []) == {}
