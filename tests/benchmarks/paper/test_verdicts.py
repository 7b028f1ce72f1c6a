"""Goals and the paper's figures are told from what was measured, either way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from benchmarks.paper.prompt_sets import PaperEntry, PaperSet
from benchmarks.paper.sections.table1 import win_rate
from benchmarks.paper.verdicts import (
    against_random,
    attributes_right,
    few_steps,
    over_best,
    over_reference,
    undecided,
)
from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.sections.frontier import Frontier
from hierdiff_core.evaluation.setting import Setting, standard

BASE = np.random.default_rng(0).uniform(0, 1, 200)
REFERENCE = Measured(standard("ddpm", 40), 40, BASE)


def _measured(per_image: float, gap: float) -> Measured:
    return Measured(Setting("ward", "ddpm", 40, saving=0.5), per_image, BASE - gap)


def _prompts(count: int, saving: float | None = None) -> PaperSet:
    entries = (PaperEntry("a mug"),) * count
    return PaperSet("some", "some", entries, paper="Animals", paper_saving=saving)


def _frontier(prompts: PaperSet, savings: Mapping[str, Estimate]) -> Frontier:
    return Frontier(prompts, REFERENCE, [REFERENCE], [], REFERENCE, savings)


def _over_reference(saving: Estimate, at_papers: Measured | None = None) -> str:
    found = _frontier(_prompts(9, 0.628), {"paper": saving})
    return over_reference("It saves.", found, at_papers)


def test_attributes_that_miss_their_goal_are_named() -> None:
    assert "the goal is met" in attributes_right("DDPM 40", {"colour": 0.9, "style": 1.0})
    assert "missed by colour 80%" in attributes_right("DDPM 40", {"colour": 0.8, "style": 1.0})


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(0.7, 0.6, 0.8), "at least the paper's 63 %"),
        (Estimate(0.6, 0.5, 0.7), "lies inside the interval"),
        (Estimate(0.2, 0.1, 0.3), "is missed"),
    ],
)
def test_the_answer_to_a_is_written_from_its_interval(estimate: Estimate, said: str) -> None:
    assert said in _over_reference(estimate)


def test_only_large_sets_have_a_goal_against_the_best_standard_setting() -> None:
    saving = Estimate(0.3, 0.1, 0.4)
    assert "goal" not in over_best("It pays.", _frontier(_prompts(16), {"over_best": saving}))
    assert over_best("It pays.", _frontier(_prompts(500), {"over_best": saving})) == (
        "It pays; goal met."
    )


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


def test_a_missed_goal_is_told_with_its_cause() -> None:
    missed, worse = Estimate(0.2, 0.1, 0.3), _measured(15, 0.1)
    assert "at that saving it scores" in _over_reference(missed, worse)


def test_a_tie_counts_half_and_is_told() -> None:
    ours, theirs = np.array([1.0, 0.5, 0.5, 0.0]), np.array([0.5, 0.5, 0.5, 0.5])
    wins, ties = win_rate(ours, theirs)
    assert (wins.value, ties) == (0.5, 2)
