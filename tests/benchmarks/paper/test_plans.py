"""What the evaluation tells of calibrated plans follows from what was measured, either way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.paper.grid import GRIDS, PaperStudy, make_study
from benchmarks.paper.prompt_sets import PaperEntry, PaperSet
from benchmarks.paper.sections import plan_growth, plans
from hierdiff_core.evaluation.budgets import (
    BUDGETS,
    best_affordable,
    dearest_within,
    rank_misfits,
)
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.page import Told
from hierdiff_core.evaluation.plan_ladder import plan_sets, plan_settings, read_ladder
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting, standard
from hierdiff_core.evaluation.unit import Outcome, Unit
from hierdiff_core.plan import CALIBRATED

NOTHING = np.zeros((0, 4, 4, 3), np.uint8)
Figure = Callable[[Setting], float]


def _study(calibrated: bool = True, **given: object) -> PaperStudy:
    entries = tuple(PaperEntry(f"mug {at}") for at in range(500))
    sets = [PaperSet(name, f"the set {name}", entries) for name in ("one", "two")]
    few = PaperSet("few", "too few", entries[:100])
    small = {"sample": 48, "plan_sample": 48, "sizes": (16, 48, 500)}
    grid = replace(GRIDS["default"], **small | given)  # type: ignore[arg-type]
    return replace(make_study(grid, [*sets, few]), calibrated=calibrated)


def _cost(setting: Setting) -> float:
    return setting.steps * (1 - (setting.saving or 0))


def _score(ahead: float) -> Figure:
    """Return scores that rise with evaluations, those of calibrated plans by so much higher."""

    def score(setting: Setting) -> float:
        lead = ahead * (setting.method == CALIBRATED) + 0.05 * (setting.method == "ward")
        known = setting.solver != "ddpm"  # which needs more steps here, as it does
        return known * (lead + 0.8 * (1 - np.exp(-min(_cost(setting), 8) / 2)))

    return score


def _results(study: PaperStudy, score: Figure, predicted: Figure | None = None) -> Results:
    """Return made-up outcomes of all jobs; predictions are right unless given otherwise."""
    outcomes = {}
    foresee = predicted or (lambda setting: 1 - score(setting))
    for at, unit in enumerate([*plans.jobs(study), *plan_growth.jobs(study)]):
        assert isinstance(unit, Unit)
        rng = np.random.default_rng(at)
        scores = 0.1 * np.sin(np.arange(len(unit.scored))) + score(unit.setting)
        scores += rng.normal(0, 0.01, len(scores))
        scores += score(unit.setting) - scores.mean()
        facts = {"evaluations": _cost(unit.setting), "images": 1.0, "misfit": 1 - scores.mean()}
        if np.isfinite(foresee(unit.setting)):
            facts["predicted"] = foresee(unit.setting)
        outcomes[unit] = Outcome({"attributes": scores}, None, {}, NOTHING, facts)
    return Results(outcomes)


def _told(score: Figure, predicted: Figure | None = None) -> Told:
    study = _study()
    return plans.tell(study, _results(study, score, predicted))


def _measured(setting: Setting, score: float) -> Measured:
    return Measured(setting, _cost(setting), np.full(10, score))


def test_plans_are_judged_by_more_pictures_than_the_rest() -> None:
    study = _study(plan_sample=96)
    assert {len(each.scored) for each in plans.jobs(study)} == {96}
    assert len(study.sample(study.report[0])) == 48


def test_a_model_that_is_not_calibrated_asks_for_no_plans_and_says_what_to_do() -> None:
    study = _study(calibrated=False)
    for section in (plans, plan_growth):
        assert section.jobs(study) == []
        assert "hierdiff calibrate" in section.tell(study, Results({})).sentences[0]


def test_only_large_sets_are_asked_and_every_plan_spends_what_its_rung_says() -> None:
    study = _study()
    assert [each.name for each in plan_sets(study)] == ["one", "two"]
    shared = [each for each in plan_settings(study) if each.shares]
    assert {round(_cost(each), 4) for each in shared} == set(study.grid.rungs)
    assert all((each.saving or 0) < 0.9 for each in shared)
    assert {each.method for each in shared} == {CALIBRATED, "ward", "average", "centroid"}


def test_a_plan_is_chosen_by_its_prediction_even_where_another_scores_higher() -> None:
    def score(setting: Setting) -> float:
        lucky = (setting.method, setting.solver, setting.steps) == (CALIBRATED, "ddim", 8)
        return _score(0.1)(setting) + 0.1 * lucky

    def predicted(setting: Setting) -> float:
        return float(setting.steps != 6) + float(setting.solver != "dpmsolver++")

    study = _study()
    ladder = read_ladder(study, _results(study, score, predicted), plan_sets(study)[0])
    assert ladder is not None
    assert len(ladder.rungs) == len(study.grid.rungs)
    for rung in ladder.rungs:
        assert (rung.chosen.setting.solver, rung.chosen.setting.steps) == ("dpmsolver++", 6)
        assert (rung.hindsight.setting.solver, rung.hindsight.setting.steps) == ("ddim", 8)
        assert rung.chosen.mean < rung.hindsight.mean


def test_a_rung_never_exceeds_its_budget() -> None:
    study = _study()
    ladder = read_ladder(study, _results(study, _score(0.1)), plan_sets(study)[0])
    assert ladder is not None
    for budget in np.linspace(0.1, 9, 90):
        rung = dearest_within(ladder.rungs, float(budget))
        within = [each for each in study.grid.rungs if each <= budget * 1.02]
        assert (rung and rung.evaluations) == max(within, default=None)
    assert ladder.rival.per_image == 8
    assert [rung and rung.evaluations for rung in ladder.spent().values()] == [1.6, 2.4, 4.0, 5.6]


def test_goals_that_are_reached_are_said_to_be_hit() -> None:
    said = " ".join(_told(_score(0.2)).sentences)
    assert "score at least as high at 8 of 8 budgets; the goal, all of them, is hit" in said
    assert "above 0 on 2 of 2 sets (`one`, `two`); the goal, 2 sets, is hit" in said
    assert "not told to be worse at 8 of 8 budgets; the goal, all of them, is hit" in said
    assert "`one`: at equal score calibrated plans save" in said
    assert "missed" not in said


def test_goals_are_said_to_be_missed_where_a_tree_or_plain_steps_score_higher() -> None:
    said = " ".join(_told(_score(-0.1)).sentences)
    assert "score at least as high at 0 of 8 budgets (`one` at 20 % -0.150 [" in said
    assert "above 0 on 0 of 2 sets; the goal, 2 sets, is missed" in said
    assert "`one`: no chosen plan reaches the score of" in said
    assert "the cheapest that is not told to be worse: none." in said
    assert said.count("missed") >= 3


def test_a_budget_that_was_not_measured_hits_no_goal() -> None:
    study = _study(rungs=(2.4, 4.0, 5.6))
    told = plans.tell(study, _results(study, _score(0.2)))
    assert "at 6 of 6 budgets (2 more not measured); the goal, all of them, is missed" in " ".join(
        told.sentences
    )
    assert [row[2] for row in told.tables[0].rows[: len(BUDGETS)]] == [
        "none measured", "2.4", "4.0", "5.6",
    ]  # fmt: skip


def test_a_budget_that_is_larger_than_all_that_was_measured_is_named() -> None:
    said = plans.tell(study := _study(rungs=(1.6, 2.4, 4.0)), _results(study, _score(0.2)))
    assert any("`one` at 70 % (4 of 5.6)" in each for each in said.sentences)
    assert not any("Not all of a budget" in each for each in _told(_score(0.2)).sentences)


def test_where_no_standard_setting_is_as_cheap_the_cheapest_is_compared_with() -> None:
    standards = [_measured(standard("ddim", 2), 0.1), _measured(standard("dpmsolver++", 2), 0.4),
                 _measured(standard("ddim", 4), 0.8)]  # fmt: skip
    assert best_affordable(standards, 1.2) is standards[1]
    assert best_affordable(standards, 3.0) is standards[1]
    assert best_affordable(standards, 4.0) is standards[2]
    rows = _told(_score(0.1)).tables[0].rows
    assert [("none is as cheap" in row[9]) for row in rows[:4]] == [True, False, False, False]


def test_predictions_are_held_against_what_came_out() -> None:
    right = " ".join(_told(_score(0.2)).sentences)
    assert "predicted misfit and measured misfit: 1.00 in the mean over sets" in right
    wrong = " ".join(_told(_score(0.2), _score(0.2)).sentences)
    assert "predicted misfit and score: -1.00 in the mean over sets" in wrong
    assert "the goal, 0.8, is missed" in wrong


def test_plans_measured_before_the_model_was_calibrated_are_left_out_of_predictions() -> None:
    def predicted(setting: Setting) -> float:
        return 1 - _score(0.2)(setting) if setting.method == CALIBRATED else np.nan

    study = _study()
    ladder = read_ladder(study, _results(study, _score(0.2), predicted), plan_sets(study)[0])
    assert ladder is not None
    assert {each.measured.setting.method for each in ladder.foreseen} == {CALIBRATED}
    assert set(ladder.rungs[0].trees) == {"ward", "average", "centroid"}
    assert rank_misfits(ladder.foreseen[:2]) is None


@pytest.mark.parametrize(("ahead", "said"), [(0.2, "above 0 at 3, "), (-0.2, "below 0 at 3.")])
def test_the_gain_against_the_number_of_prompts_is_told_either_way(ahead: float, said: str) -> None:
    study = _study()
    told = plan_growth.tell(study, _results(study, _score(ahead)))
    assert len(told.sentences) == 2
    assert all(said in each for each in told.sentences)
    assert [row[0] for row in told.tables[0].rows] == ["16", "48", "500"]


def test_every_picture_of_plans_is_drawn() -> None:
    study = _study()
    results = _results(study, _score(0.1))
    pictures = {**plans.tell(study, results).pictures, **plan_growth.tell(study, results).pictures}
    assert set(pictures) == {"plans-one.png", "plans-two.png", "plan-growth.png"}
    assert all(draw().startswith(b"\x89PNG") for draw in pictures.values())


def test_plans_are_compared_with_each_tree_under_the_same_solver_and_steps() -> None:
    said = [each for each in _told(_score(0.1)).sentences if each.startswith("Like with like")]
    assert len(said) == 3
    compared = 2 * 2 * len(GRIDS["default"].rungs)  # sets, solvers, rungs
    assert all(f"at least as high at {compared} of {compared}" in each for each in said)
    behind = [each for each in _told(_score(-0.1)).sentences if each.startswith("Like with like")]
    assert all(f"at least as high at 0 of {compared}" in each for each in behind)
