"""Statistics, frontiers and sentences of the evaluation keep their promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from hierdiff_core.evaluation.bootstrap import Estimate, estimate_mean
from hierdiff_core.evaluation.frontier import (
    NEVER,
    Measured,
    best_standard,
    cost_at,
    envelope,
    saving_at_equal_score,
    saving_over_best,
)
from hierdiff_core.evaluation.prompt_sets import Entry, PromptSet
from hierdiff_core.evaluation.sections.frontier import Frontier, sentences
from hierdiff_core.evaluation.setting import Setting, label, standard

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.02, (8, 200))
BASE = RNG.uniform(0, 1, 200)


def _standard(steps: int, shift: float, at: int) -> Measured:
    return Measured(standard("ddim", steps), steps, BASE + shift + NOISE[at])


def _shared(per_image: float, shift: float, at: int) -> Measured:
    return Measured(Setting("ward", "ddim", 10, saving=0.5), per_image, BASE + shift + NOISE[at])


def _over_best(saving: Estimate, rival: Measured, shared: Sequence[Measured] = ()) -> str:
    prompts = PromptSet("some", "some", (Entry("a mug"),) * 600)
    savings = {"paper": Estimate(0.2, 0.1, 0.3), "over_best": saving}
    reference, best = sentences(Frontier(prompts, rival, [rival], shared, rival, savings))
    assert "sharing saves 20 % [10, 30] over" in reference
    assert "goal" not in reference + best
    return best


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
    assert "does not pay" in _over_best(found, best_standard(standards))
    assert found.to_json()["value"] is None


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(0.3, 0.1, 0.4), "pays: it saves 30 %"),
        (Estimate(0.3, -0.1, 0.4), "may pay"),
        (Estimate(-0.5, -0.9, -0.1), "takes 50 % more"),
    ],
)
def test_the_answer_to_b_is_written_from_its_interval(estimate: Estimate, said: str) -> None:
    assert said in _over_best(estimate, _standard(10, 0, 0))


def test_a_setting_has_a_name_for_people() -> None:
    assert label(standard("dpmsolver++", 8)) == "DPM-Solver++ 8"
    assert label(Setting("ward", "ddpm", 40, saving=0.5043)) == "ward, DDPM 40, saving 50.43 %"


def test_sharing_that_does_not_pay_is_told_with_the_best_that_is_no_dearer() -> None:
    lost, worse = Estimate(-0.5, -0.9, -0.1), _shared(15, -0.1, 1)
    assert "no dearer" not in _over_best(lost, _standard(10, 0, 0), [worse])
    said = _over_best(lost, _standard(20, 0, 0), [worse])
    assert "no dearer, ward, DDIM 10, saving 50 % (15.0 evaluations), scores" in said
