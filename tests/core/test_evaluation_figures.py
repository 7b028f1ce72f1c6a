"""Statistics, frontiers and sentences of the evaluation keep their promises."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean, win_rate
from hierdiff_core.evaluation.frontier import (
    NEVER,
    Measured,
    best_standard,
    cost_at,
    envelope,
    saving_at_equal_score,
    saving_over_best,
)
from hierdiff_core.evaluation.prompt_sets import REPORT, Entry, PromptSet
from hierdiff_core.evaluation.setting import Setting, label, standard
from hierdiff_core.evaluation.verdicts import (
    against_random,
    few_steps,
    over_best,
    over_reference,
    undecided,
)

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.02, (8, 200))
BASE = RNG.uniform(0, 1, 200)


def _standard(steps: int, shift: float, at: int) -> Measured:
    return Measured(standard("ddim", steps), steps, BASE + shift + NOISE[at])


def _shared(per_image: float, shift: float, at: int) -> Measured:
    return Measured(Setting("ward", "ddim", 10, saving=0.5), per_image, BASE + shift + NOISE[at])


def _prompts(count: int, saving: float | None = None) -> PromptSet:
    return PromptSet("some", "some", REPORT, (Entry("a mug"),) * count, "Animals", saving)


def test_a_tie_counts_half_and_is_told() -> None:
    ours, theirs = np.array([1.0, 0.5, 0.5, 0.0]), np.array([0.5, 0.5, 0.5, 0.5])
    wins, ties = win_rate(ours, theirs)
    assert (wins.value, ties) == (0.5, 2)


def test_an_interval_holds_the_mean_and_shrinks_with_more_prompts() -> None:
    few, many = estimate_mean(RNG.normal(size=50)), estimate_mean(RNG.normal(size=5000))
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.2 * (few.high - few.low)


def test_an_interval_is_the_same_each_time() -> None:
    assert estimate_mean(BASE) == estimate_mean(BASE.copy())


def test_the_envelope_forgets_settings_that_cost_more_for_less() -> None:
    cost, best = envelope(np.array([4.0, 2.0, 3.0, 8.0]), np.array([0.6, 0.5, 0.4, 0.6]))
    assert cost.tolist() == [2.0, 4.0]
    assert best.tolist() == [0.5, 0.6]


@pytest.mark.parametrize(
    ("wanted", "cost"), [(0.55, 3.0), (0.5, 2.0), (0.1, 2.0), (0.6, 4.0), (0.61, np.inf)]
)
def test_cost_is_interpolated_between_the_points_of_the_envelope(
    wanted: float, cost: float
) -> None:
    costs, scores = np.array([4.0, 2.0]), np.array([0.6, 0.5])
    assert cost_at(costs, scores, wanted) == pytest.approx(cost)


def test_sharing_that_holds_the_score_at_half_the_cost_saves_half() -> None:
    reference = Measured(standard("ddpm", 40), 40, BASE)
    half = Measured(Setting("ward", "ddpm", 40, saving=0.5), 20, BASE)
    assert saving_at_equal_score([half], reference).value == pytest.approx(0.5)


def test_sharing_that_never_holds_the_score_saves_nothing() -> None:
    reference = Measured(standard("ddpm", 40), 40, BASE)
    worse = Measured(Setting("ward", "ddpm", 40, saving=0.5), 20, BASE - 0.1)
    found = saving_at_equal_score([worse], reference)
    assert (found.value, found.high) == (0, 0)


def test_the_best_standard_setting_is_the_cheapest_that_cannot_be_told_from_the_best() -> None:
    standards = [_standard(40, 0.0, 0), _standard(10, 0.0, 1), _standard(3, -0.2, 2)]
    assert best_standard(standards).per_image == 10


def test_sharing_is_compared_with_the_best_standard_setting_not_with_forty_steps() -> None:
    standards = [_standard(40, 0.0, 0), _standard(10, 0.0, 1)]
    ahead = saving_over_best([_shared(5, 0.05, 2)], standards)
    behind = saving_over_best([_shared(20, 0.05, 2)], standards)
    assert ahead.value == pytest.approx(0.5)
    assert behind.value == pytest.approx(-1.0)
    assert ahead.low > 0 > behind.high


def test_sharing_that_never_reaches_the_best_standard_score_does_not_pay() -> None:
    standards = [_standard(40, 0.0, 0), _standard(10, 0.0, 1)]
    found = saving_over_best([_shared(5, -0.3, 2)], standards)
    assert found.value == NEVER
    assert "does not pay" in over_best(_prompts(600), found, best_standard(standards))
    assert found.to_json()["value"] is None


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(0.7, 0.6, 0.8), "at least the paper's 63 %"),
        (Estimate(0.6, 0.5, 0.7), "lies inside the interval"),
        (Estimate(0.2, 0.1, 0.3), "is missed"),
    ],
)
def test_the_answer_to_a_is_written_from_its_interval(estimate: Estimate, said: str) -> None:
    assert said in over_reference(_prompts(9, 0.628), estimate, _standard(40, 0, 0))


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(0.3, 0.1, 0.4), "pays: it saves 30 %"),
        (Estimate(0.3, -0.1, 0.4), "may pay"),
        (Estimate(-0.5, -0.9, -0.1), "takes 50 % more"),
    ],
)
def test_the_answer_to_b_is_written_from_its_interval(estimate: Estimate, said: str) -> None:
    assert said in over_best(_prompts(9), estimate, _standard(10, 0, 0))


def test_only_large_sets_have_a_goal_against_the_best_standard_setting() -> None:
    saving, rival = Estimate(0.3, 0.1, 0.4), _standard(10, 0, 0)
    assert "goal" not in over_best(_prompts(16), saving, rival)
    assert "goal met" in over_best(_prompts(500), saving, rival)


def test_the_tree_is_measured_against_five_times_what_random_embeddings_save() -> None:
    tree = Estimate(0.5, 0.4, 0.6)
    assert "met" in against_random(_prompts(9), tree, Estimate(0.05, 0, 0.1))
    assert "missed" in against_random(_prompts(9), tree, Estimate(0.4, 0.3, 0.5))
    assert "saves nothing" in against_random(_prompts(9), tree, Estimate(0.0, 0, 0))


def test_the_tree_and_random_embeddings_are_told_side_by_side_at_one_saving() -> None:
    tree, blind = (Measured(Setting(each, "ddpm", 40, saving=0.7), 12, BASE - gap)
                   for each, gap in (("ward", 0.0), ("random", 0.25)))  # fmt: skip
    said = against_random(_prompts(9), Estimate(0.5, 0, 1), Estimate(0.4, 0, 1), (tree, blind))
    assert "at a saving of 70 % the tree scores" in said
    assert "difference +0.250" in said


def test_what_the_first_half_of_the_steps_leaves_open_is_told() -> None:
    assert "After 2 of 4 steps alone the predicted picture scores 0.300 of the 0.900" in undecided(
        [0.1, 0.3, 0.8, 0.9]
    )


def test_an_early_emergence_is_said_to_make_few_steps_enough() -> None:
    assert "few steps are enough" in few_steps([0.5, 0.96, *[1.0] * 8], 10)
    assert "(late)" in few_steps([0.1] * 9 + [1.0], 10)


def test_a_setting_has_a_name_for_people() -> None:
    assert label(standard("dpmsolver++", 8)) == "DPM-Solver++ 8"
    assert label(Setting("ward", "ddpm", 40, saving=0.5043)) == "ward, DDPM 40, saving 50.43 %"


def test_a_missed_goal_is_told_with_its_cause() -> None:
    missed, worse = Estimate(0.2, 0.1, 0.3), _shared(15, -0.1, 1)
    told = over_reference(_prompts(9, 0.628), missed, _standard(40, 0, 0), worse)
    assert "at that saving it scores" in told
    told = over_best(_prompts(9), Estimate(-0.5, -0.9, -0.1), _standard(10, 0, 0), [worse])
    assert "no dearer" not in told
    told = over_best(_prompts(9), Estimate(-0.5, -0.9, -0.1), _standard(20, 0, 0), [worse])
    assert "no dearer, ward, DDIM 10, saving 50 % (15.0 evaluations), scores" in told
