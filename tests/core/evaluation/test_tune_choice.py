"""A tuning chooses the cheapest setting that is known to hold, and is not taken in by luck."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.setting import Setting, standard
from hierdiff_core.evaluation.tune_choice import (
    Choice,
    Half,
    Measure,
    Verdict,
    choose,
    prompts_to_decide,
)
from hierdiff_core.evaluation.tune_grid import TUNE_GRIDS, Candidates, cost, make_candidates
from hierdiff_core.evaluation.tune_words import sentences, words

CANDIDATES = make_candidates(TUNE_GRIDS["default"], ["ddim", "dpmsolver++"], ["ward", "average"])
Truth = Callable[[Setting], float]


class Bench:
    """Scores around a truth, paired by prompt; remembers what was asked of it."""

    def __init__(self, truth: Truth, noise: float = 0.02, prompts: int = 60) -> None:
        self.truth, self.noise, self.prompts = truth, noise, prompts
        self.asked: list[tuple[Setting, Half]] = []

    def measure(self, settings: Sequence[Setting], half: Half) -> Mapping[Setting, Measured]:
        self.asked += [(each, half) for each in settings]
        return {each: self._one(each, half) for each in settings}

    def _one(self, setting: Setting, half: Half) -> Measured:
        hardness = np.random.default_rng(list(half.value.encode())).normal(0, 0.2, self.prompts)
        rng = np.random.default_rng(list(repr((setting, half)).encode()))
        scores = self.truth(setting) + hardness + rng.normal(0, self.noise, self.prompts)
        return Measured(setting, cost(setting), scores)


def steps_pay(setting: Setting) -> float:
    """What twelve steps reach, and what sharing loses."""
    alone = 0.9 * min(1.0, 0.4 + 0.05 * setting.steps)
    return alone * (1 - 0.5 * (setting.saving or 0.0))


def sharing_is_free(setting: Setting) -> float:
    return 0.9 * min(1.0, 0.4 + 0.05 * setting.steps)


def chosen(measure: Measure, quality: float = 0.98, of: Candidates = CANDIDATES) -> Choice:
    return choose(of, quality, measure)


def test_where_sharing_loses_it_says_do_not_share_and_names_the_steps() -> None:
    choice = chosen(Bench(steps_pay).measure, 0.95)
    assert words(choice.chosen.setting).startswith("do not share: ")
    assert choice.chosen.setting.steps == 12
    assert choice.chosen == choice.cheapest_standard


def test_at_full_quality_nothing_is_shared() -> None:
    choice = chosen(Bench(steps_pay).measure, 1.0)
    assert not choice.chosen.setting.shares
    assert choice.chosen.measured.mean >= max(
        each.measured.mean for each in choice.climbed if each.verdict is Verdict.HOLDS
    )


def test_where_sharing_costs_nothing_it_takes_the_boldest_saving_of_the_steps_that_hold() -> None:
    choice = chosen(Bench(sharing_is_free, noise=0.002).measure)
    assert choice.chosen.setting.shares
    assert (choice.chosen.setting.steps, choice.chosen.setting.saving) == (12, 0.65)
    assert choice.chosen.measured.per_image < choice.cheapest_standard.measured.per_image


def test_what_is_stated_was_measured_on_prompts_that_it_was_not_chosen_on() -> None:
    bench = Bench(sharing_is_free)
    choice = chosen(bench.measure)
    told = [setting for setting, half in bench.asked if half is Half.TELLING]
    assert [each.setting for each in choice.climbed] == told
    assert choice.chosen in choice.climbed
    assert len(told) < len(choice.tried)


def test_the_luckiest_of_many_equally_bad_settings_is_not_taken() -> None:
    """Sharing falls short by 4 points, and noise lets some of many seem to hold."""
    wrong = 0
    for seed in range(40):
        bench = Bench(
            lambda each, seed=seed: 0.9 - 0.055 * each.shares + 0 * seed, noise=0.1 + seed / 1e4
        )
        choice = chosen(bench.measure, 0.98, shared_only_below(12))
        wrong += choice.chosen.setting.shares
    assert wrong <= 3


def shared_only_below(steps: int) -> Candidates:
    """One standard setting, and fifty ways to share below it."""
    savings = np.linspace(0.2, 0.6, 50)
    ladders = tuple(
        (Setting("ward", "ddim", steps, saving=float(each)),) for each in savings
    )  # fmt: skip
    return Candidates((standard("ddim", steps),), ladders)


def test_nothing_is_measured_that_could_not_be_cheaper() -> None:
    bench = Bench(steps_pay)
    choice = chosen(bench.measure, 0.95)
    limit = choice.cheapest_standard.measured.per_image
    assert all(cost(each) < limit for each, _ in bench.asked if each.shares)


def test_a_family_is_given_up_once_it_is_known_to_fall_short() -> None:
    bench = Bench(lambda each: 0.9 * (1 - 0.9 * (each.saving or 0)), noise=0.001)
    chosen(bench.measure)
    shared = [each for each, _ in bench.asked if each.shares]
    assert shared
    ladders = [(each.method, each.solver, each.steps) for each in shared]
    assert len(ladders) == len(set(ladders))


def test_a_saving_that_cannot_be_met_ends_its_family_and_no_more() -> None:
    bench = Bench(sharing_is_free)

    def measure(settings: Sequence[Setting], half: Half) -> Mapping[Setting, Measured]:
        found = bench.measure(settings, half)
        return {each: found[each] for each in found if (each.saving or 0) < 0.5}

    choice = chosen(measure)
    assert choice.chosen.setting.saving == 0.35
    assert not any(each.saving == 0.65 for each, _ in bench.asked)


def test_a_sample_that_is_too_small_is_told_with_the_size_that_would_do() -> None:
    choice = chosen(Bench(lambda each: 0.9 + each.steps / 1e4, noise=0.15, prompts=20).measure)
    stopped = choice.stopped_at
    assert stopped is not None
    assert stopped.verdict is Verdict.UNSURE
    needed = prompts_to_decide(stopped, choice.quality)
    assert needed is None or needed > 40
    assert "too small to tell" in " ".join(sentences(choice, 1000))


def test_the_sample_that_is_named_does_tell() -> None:
    truth: Truth = lambda each: 0.9 * (1.0 if each.steps >= 12 else 0.95)  # noqa: E731
    small = chosen(Bench(truth, noise=0.15, prompts=20).measure, 0.98)
    if small.stopped_at is not None and (needed := prompts_to_decide(small.stopped_at, 0.98)):
        large = chosen(Bench(truth, noise=0.15, prompts=4 * needed).measure, 0.98)
        assert large.chosen.measured.per_image <= small.chosen.measured.per_image


def test_the_same_figures_give_the_same_choice() -> None:
    first, second = (chosen(Bench(steps_pay).measure) for _ in range(2))
    assert words(first.chosen.setting) == words(second.chosen.setting)
    assert [each.share for each in first.tried] == [each.share for each in second.tried]


def test_it_says_what_it_costs_against_the_best_and_the_cheapest_standard_setting() -> None:
    choice = chosen(Bench(sharing_is_free, noise=0.002).measure)
    said = " ".join(sentences(choice, 500))
    assert said.startswith("share: ")
    assert "below the best standard setting" in said
    assert "below the cheapest standard setting that holds" in said


@pytest.mark.parametrize("quality", [0.0, -1.0, 1.01, float("nan")])
def test_a_quality_that_is_no_share_is_refused(quality: float) -> None:
    with pytest.raises(InvalidSetting, match="quality"):
        chosen(Bench(steps_pay).measure, quality)


def test_a_judge_that_gives_nothing_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="judge"):
        chosen(Bench(lambda each: -1.0).measure)


def test_no_complete_standard_setting_is_an_error_not_a_choice() -> None:
    with pytest.raises(InvalidSetting, match="run the same command again"):
        chosen(lambda settings, half: {})
