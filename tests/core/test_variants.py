"""Several pictures of a text: they share early steps, part by noise, and change nobody else's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hierdiff_core.budget import Budget
from hierdiff_core.embedding import Conditioning
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.forest import Forest, Group, group_prompts
from hierdiff_core.planners import PlanSettings, Stand, extend_forest, plan_forest
from hierdiff_core.prompt import RENEWED, Prompt, content_key
from hierdiff_core.sampling.renewal import levels_of, renew
from hierdiff_core.sampling.sampler import Job, run
from hierdiff_core.solver import make_solver
from hierdiff_core.standing import (
    Founder,
    KnownFounders,
    StandingForest,
    StandingSegment,
    make_standing,
)
from tests.core.gaussian import KANDINSKY, SHAPE, Gaussian, draw
from tests.core.recipes import bare_recipe

STEPS = 8
HALF = STEPS // 2
RECIPE = bare_recipe(steps=STEPS)
PAPER = PlanSettings(planner="paper", tau=0.6)
DENOISER = Gaussian(KANDINSKY)
every_solver = pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmsolver++", "euler"])


def pictures(texts: range, variants: int = 1, **changes: object) -> list[Prompt]:
    return [
        replace(Prompt(row, f"R{row}", f"thing {row}", RECIPE, number), **changes)  # type: ignore[arg-type]
        for row in texts
        for number in range(1, variants + 1)
    ]


def vector(prompt: Prompt) -> np.ndarray:
    """Return a point near one of three centres, the same for the same text."""
    number = int(prompt.text.removeprefix("thing "))
    centre = np.random.default_rng(number % 3).normal(size=16)
    return centre + 0.3 * np.random.default_rng(1000 + number).normal(size=16)


def plan(prompts: list[Prompt], settings: PlanSettings = PAPER) -> Forest:
    groups = group_prompts(prompts)
    rows = [np.stack([vector(each) for each in group.prompts]) for group in groups]
    return plan_forest(groups, rows, settings)


def made(forest: Forest, name: str, done: frozenset[str] = frozenset()) -> dict[str, torch.Tensor]:
    """Return the latents of every segment by its key; those `done` come from a first run."""
    (group,) = forest.groups
    rows = np.stack([np.tile(vector(each), 2) for each in group.prompts]).astype(np.float32)
    steering = Conditioning({"middle": torch.from_numpy(rows)})
    solver = make_solver(name, DENOISER.noise_schedule, STEPS)
    keys = (group.content_keys, group.text_keys)
    job = Job(forest.plan, steering, keys[0], slots=1, text_keys=keys[1])
    states = {each.segment.id: each.state for each in run(job, DENOISER, solver)}
    kept = {each: states[each] for each in states if forest.keys[each] in done}
    if kept:
        states = kept | {e.segment.id: e.state for e in run(job, DENOISER, solver, kept)}
    return {forest.keys[each]: state.latents for each, state in states.items()}


def ends(forest: Forest, latents: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return final latents by the name of the picture."""
    found = {}
    for leaf, prompt in enumerate(forest.groups[0].prompts):
        found[prompt.name] = latents[forest.keys[forest.plan.leaf_segment(leaf).id]]
    return found


@every_solver
def test_more_variants_change_no_picture_that_was_there(name: str) -> None:
    one, two, four = (plan(pictures(range(1, 10), count)) for count in (1, 2, 4))
    plain, pair, many = (ends(each, made(each, name)) for each in (one, two, four))
    for picture, latents in plain.items():
        assert torch.equal(pair[picture], latents)
    for picture, latents in pair.items():
        assert torch.equal(many[picture], latents)


@every_solver
def test_each_variant_is_another_picture_and_shares_half_its_steps(name: str) -> None:
    forest = plan(pictures(range(1, 4), 3))
    found = ends(forest, made(forest, name))
    assert len({latents.numpy().tobytes() for latents in found.values()}) == 9
    for leaf, prompt in enumerate(forest.groups[0].prompts):
        path = forest.plan.path(forest.plan.leaf_segment(leaf))
        if prompt.number > 1:
            assert (path[-1].start, path[-1].size) == (HALF, 1)


@every_solver
def test_a_resumed_variant_has_the_bits_of_an_undisturbed_one(name: str) -> None:
    forest = plan(pictures(range(1, 6), 3))
    whole = made(forest, name)
    shared = frozenset(forest.keys[s.id] for s in forest.plan.segments if s.stop < STEPS)
    again = made(forest, name, done=shared)
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_members_partition_the_pictures_at_every_step() -> None:
    forest = plan([*pictures(range(1, 10), 3), *pictures(range(10, 14), own_seed=5)])
    for k in range(1, STEPS + 1):
        taken = [leaf for each in forest.plan.active(k) for leaf in forest.plan.members(each)]
        assert sorted(taken) == list(range(forest.plan.size))
    for segment in forest.plan.segments:
        above = 0 if segment.parent is None else forest.plan.segments[segment.parent].stop
        assert segment.start == above


def test_what_is_shared_is_known_by_texts_and_not_by_who_shares_it() -> None:
    plain = plan(pictures(range(1, 10)))
    seeds = plan(pictures(range(1, 10), own_seed=7))
    early = {k for s, k in zip(plain.plan.segments, plain.keys, strict=True) if s.stop <= HALF}
    assert early <= set(seeds.keys)
    assert not {content_key(each) for each in pictures(range(1, 10), own_seed=7)} & {
        content_key(each) for each in pictures(range(1, 10))
    }


def test_a_seed_of_its_own_no_longer_cuts_a_row_off() -> None:
    rows = [replace(each, own_seed=each.row) for each in pictures(range(1, 13))]
    forest = plan(rows)
    assert len(forest.groups) == 1
    assert forest.plan.saving > 0.2


@pytest.mark.parametrize("seeds", [{}, {"own_seed": 3}])
def test_a_budget_counts_every_picture(seeds: dict[str, object]) -> None:
    prompts = [*pictures(range(1, 31), 3, **seeds), *pictures(range(31, 61))]
    forest = plan(prompts, PlanSettings(Budget(saving=0.4), planner="paper"))
    allowed = 0.6 * 120 * STEPS
    assert allowed - 2 * STEPS <= forest.plan.evaluations <= allowed


def test_a_budget_beyond_what_variants_share_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="variants share at most 50%"):
        plan(pictures(range(1, 10), 8), PlanSettings(Budget(saving=0.7), planner="paper"))


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmsolver++", "flow_euler"])
def test_noise_is_renewed_at_the_levels_of_each_solver(name: str) -> None:
    flow = name == "flow_euler"
    schedule = Gaussian({"shift": 2.0} if flow else KANDINSKY, flow).noise_schedule
    solver = make_solver(name, schedule, STEPS)
    levels = levels_of(solver, schedule)
    x0, noise, other = (draw(seed, 1, *SHAPE) for seed in (1, 2, 3))
    for k in range(1, STEPS - 1):
        before, (a, s) = levels[:, [k]], levels[:, k + 1].float()
        x = before[0].float() * x0 + before[1].float() * noise
        right = noise - x0 if flow else noise
        after, _ = solver.step(x, right, None, torch.tensor([k]), (x0,) * solver.history_size)
        torch.testing.assert_close(after, a * x0 + s * noise, rtol=0, atol=3e-3)
        renewed = renew(x, x0, other, before, levels[:, [k + 1]])
        wanted = (1 - RENEWED**2) ** 0.5 * noise + RENEWED * other
        torch.testing.assert_close(renewed, a * x0 + s * wanted, rtol=0, atol=3e-3)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_renewed_latents_keep_their_marginal(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hierdiff_core.sampling.renewal.RENEWED", share)
    x0, old, new = (draw(seed, 1, 40_000) for seed in (1, 2, 3))
    before, after = (
        torch.tensor(each, dtype=torch.float64) for each in ([[0.6], [0.8]], [[0.8], [0.6]])
    )
    renewed = renew(0.6 * x0 + 0.8 * old, x0, new, before, after)
    noise = (renewed - 0.8 * x0) / 0.6
    assert abs(float(noise.std()) - 1) < 0.02
    assert abs(float((noise * old).mean()) - (1 - share**2) ** 0.5) < 0.02


def standing(forest: Forest, made_at: float = 0.0) -> StandingForest:
    """Return what a night leaves behind once it has been made."""
    return make_standing(_segments(forest, made_at))


def _segments(forest: Forest, made_at: float) -> list[StandingSegment]:
    (group,), plan = forest.groups, forest.plan
    own = [Founder(key, key) for key in group.content_keys] + list(forest.guests)
    texts = [Founder(key, key) for key in group.text_keys] + list(forest.guests)
    return [
        StandingSegment(
            forest.keys[each.id],
            None if each.parent is None else forest.keys[each.parent],
            each.start,
            each.stop,
            tuple((own if plan.is_leaf(each) else texts)[leaf] for leaf in plan.founders(each)),
            True,
            made=made_at,
        )
        for each in plan.segments
    ]


def extend(before: StandingForest, like: Forest, prompts: list[Prompt]) -> Forest:
    known = {content_key(each): each for each in [*pictures(range(1, 20), 3), *prompts]}
    (group,) = group_prompts(prompts)
    ends = before.pictures(STEPS)
    kept = {
        leaf: ends[key]
        for leaf, key in enumerate(group.content_keys)
        if key in ends and not group.prompts[leaf].anew
    }
    new = tuple(leaf for leaf in range(len(group.prompts)) if leaf not in kept)
    steering = np.stack([vector(known[each.content_key]) for each in before.prompts])
    founders = KnownFounders(before, steering)
    rows = np.stack([vector(group.prompts[leaf]) for leaf in new]) if new else np.zeros((0, 16))
    return extend_forest([group], [Stand(before, founders, kept, new, rows)], PAPER, like.plan)


def path_keys(forest: Forest, name: str) -> list[str]:
    leaf = next(i for i, each in enumerate(forest.groups[0].prompts) if each.name == name)
    return [forest.keys[each.id] for each in forest.plan.path(forest.plan.leaf_segment(leaf))]


def test_another_picture_goes_on_from_the_split_that_the_rejected_one_shares() -> None:
    one = plan(pictures(range(1, 10), 2))
    before = pictures(range(1, 10), 2)
    rows = [replace(each, remade_seed=5 if each.row == 4 else None) for each in before]
    two = extend(standing(one), one, rows)
    for prompt in before:
        same = path_keys(two, prompt.name) == path_keys(one, prompt.name)
        assert same == (prompt.row != 4)
    assert path_keys(two, "R4#2")[:-1] == path_keys(one, "R4#2")[:-1]
    assert two.evaluations == 2 * HALF


def test_tomorrow_finds_variants_and_makes_only_more_of_them() -> None:
    one = plan(pictures(range(1, 10), 2))
    assert extend(standing(one), one, pictures(range(1, 10), 2)).evaluations == 0
    three = extend(standing(one), one, pictures(range(1, 10), 3))
    assert three.evaluations == 9 * HALF
    assert three.plan.size == 27


def test_a_picture_made_anew_is_planned_as_a_new_one_and_the_last_one_stands() -> None:
    one = plan(pictures(range(1, 10)))
    anew = [replace(each, anew=each.row == 4) for each in pictures(range(1, 10))]
    two = extend(standing(one), one, anew)
    assert (two.standing.kept, two.plan.size) == (8, 9)
    both = make_standing([*_segments(one, 1.0), *_segments(two, 2.0)])
    three = extend(both, one, pictures(range(1, 10)))
    assert path_keys(three, "R4") == path_keys(two, "R4")


def test_equal_texts_are_one_leaf_and_different_pictures_of_it_are_not() -> None:
    rows = pictures(range(1, 3), 3)
    twice = [*rows, *(replace(each, row=9, reference="again") for each in rows)]
    (group,) = group_prompts(twice)
    assert isinstance(group, Group)
    assert len(group.prompts) == 6
    assert [len(each.variants) for each in group.siblings] == [2, 2]
