"""Goals for calibrated plans are told to be hit or missed by what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.paper.grid import GRIDS, PaperStudy, make_study
from benchmarks.paper.prompt_sets import PaperEntry, PaperSet
from benchmarks.paper.sections import plan_growth, plans
from hierdiff_core.evaluation.budgets import (
    BUDGETS,
)
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.unit import Trial
from tests.core.made_up_plans import Figure, made_up, rising


def _study(calibrated: bool = True, **given: object) -> PaperStudy:
    entries = tuple(PaperEntry(f"mug {at}") for at in range(500))
    sets = [PaperSet(name, f"the set {name}", entries) for name in ("one", "two")]
    few = PaperSet("few", "too few", entries[:100])
    small = {"sample": 48, "plan_sample": 48, "sizes": (16, 48, 500)}
    grid = replace(GRIDS["default"], **small | given)  # type: ignore[arg-type]
    return replace(make_study(grid, [*sets, few]), calibrated=calibrated)


def _jobs(study: PaperStudy) -> list[Trial]:
    return [*plans.jobs(study), *plan_growth.jobs(study)]


def _report(score: Figure, predicted: Figure | None = None) -> SectionReport:
    study = _study()
    return plans.report(study, made_up(_jobs(study), score, predicted))


def test_the_growth_of_a_model_that_is_not_calibrated_is_not_asked_for() -> None:
    study = _study(calibrated=False)
    assert plan_growth.jobs(study) == []
    assert "hierdiff calibrate" in plan_growth.report(study, Results({})).sentences[0]


def test_goals_that_are_reached_are_said_to_be_hit() -> None:
    said = " ".join(_report(rising(0.2)).sentences)
    assert "score at least as high at 8 of 8 budgets; the goal, all of them, is hit" in said
    assert "above 0 on 2 of 2 sets (`one`, `two`); the goal, 2 sets, is hit" in said
    assert "not told to be worse at 8 of 8 budgets; the goal, all of them, is hit" in said
    assert "`one`: at equal score calibrated plans save" in said
    assert "missed" not in said


def test_goals_are_said_to_be_missed_where_a_tree_or_plain_steps_score_higher() -> None:
    said = " ".join(_report(rising(-0.1)).sentences)
    assert "score at least as high at 0 of 8 budgets (`one` at 20 % -0.150 [" in said
    assert "above 0 on 0 of 2 sets; the goal, 2 sets, is missed" in said
    assert "`one`: no chosen plan reaches the score of" in said
    assert "the cheapest that is not told to be worse: none." in said
    assert said.count("missed") >= 3


def test_a_budget_that_was_not_measured_hits_no_goal() -> None:
    study = _study(rungs=(2.4, 4.0, 5.6))
    report = plans.report(study, made_up(_jobs(study), rising(0.2)))
    assert "at 6 of 6 budgets (2 more not measured); the goal, all of them, is missed" in " ".join(
        report.sentences
    )
    assert [row[2] for row in report.tables[0].rows[: len(BUDGETS)]] == [
        "none measured", "2.4", "4.0", "5.6",
    ]  # fmt: skip


def test_predictions_are_held_against_what_came_out() -> None:
    right = " ".join(_report(rising(0.2)).sentences)
    assert "predicted misfit and measured misfit: 1.00 in the mean over sets" in right
    wrong = " ".join(_report(rising(0.2), rising(0.2)).sentences)
    assert "predicted misfit and score: -1.00 in the mean over sets" in wrong
    assert "the goal, 0.8, is missed" in wrong


@pytest.mark.parametrize(("ahead", "said"), [(0.2, "above 0 at 3, "), (-0.2, "below 0 at 3.")])
def test_the_gain_against_the_number_of_prompts_is_told_either_way(ahead: float, said: str) -> None:
    study = _study()
    report = plan_growth.report(study, made_up(_jobs(study), rising(ahead)))
    assert len(report.sentences) == 2
    assert all(said in each for each in report.sentences)
    assert [row[0] for row in report.tables[0].rows] == ["16", "48", "500"]


def test_every_picture_of_plans_is_drawn() -> None:
    study = _study()
    results = made_up(_jobs(study), rising(0.1))
    pictures = {
        **plans.report(study, results).pictures,
        **plan_growth.report(study, results).pictures,
    }
    assert set(pictures) == {"plans-one.png", "plans-two.png", "plan-growth.png"}
    assert all(draw().startswith(b"\x89PNG") for draw in pictures.values())


def test_plans_are_compared_with_each_tree_under_the_same_solver_and_steps() -> None:
    said = [each for each in _report(rising(0.1)).sentences if each.startswith("Like with like")]
    assert len(said) == 3
    compared = 2 * 2 * len(GRIDS["default"].rungs)  # sets, solvers, rungs
    assert all(f"at least as high at {compared} of {compared}" in each for each in said)
    behind = [each for each in _report(rising(-0.1)).sentences if each.startswith("Like with like")]
    assert all(f"at least as high at 0 of {compared}" in each for each in behind)
