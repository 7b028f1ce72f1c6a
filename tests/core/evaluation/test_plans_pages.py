"""What is told of calibrated plans follows from what was measured, and from no goal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hierdiff_core.evaluation.budgets import (
    best_affordable,
    dearest_within,
    rank_misfits,
)
from hierdiff_core.evaluation.frontier import Measured
from hierdiff_core.evaluation.grid import GRIDS, Study, make_study
from hierdiff_core.evaluation.page import SectionReport
from hierdiff_core.evaluation.plan_ladder import plan_sets, plan_settings, read_ladder
from hierdiff_core.evaluation.prompt_sets import Entry, PromptSet
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections import plans
from hierdiff_core.evaluation.setting import Setting, standard
from hierdiff_core.plan import CALIBRATED
from tests.core.made_up_plans import Figure, cost, made_up, rising


def _study(calibrated: bool = True, **given: object) -> Study:
    entries = tuple(Entry(f"mug {at}") for at in range(500))
    sets = [PromptSet(name, f"the set {name}", entries) for name in ("one", "two")]
    few = PromptSet("few", "too few", entries[:100])
    small = {"sample": 48, "plan_sample": 48}
    grid = replace(GRIDS["default"], **small | given)  # type: ignore[arg-type]
    return replace(make_study(grid, [*sets, few]), calibrated=calibrated)


def _report(score: Figure) -> SectionReport:
    study = _study()
    return plans.report(study, made_up(plans.jobs(study), score))


def _measured(setting: Setting, score: float) -> Measured:
    return Measured(setting, cost(setting), np.full(10, score))


def test_plans_are_judged_by_more_pictures_than_the_rest() -> None:
    study = _study(plan_sample=96)
    assert {len(each.scored) for each in plans.jobs(study)} == {96}
    assert len(study.sample(study.sets[0])) == 48


def test_a_model_that_is_not_calibrated_asks_for_no_plans_and_says_what_to_do() -> None:
    study = _study(calibrated=False)
    assert plans.jobs(study) == []
    assert "hierdiff calibrate" in plans.report(study, Results({})).sentences[0]


def test_only_large_sets_are_asked_and_every_plan_spends_what_its_rung_says() -> None:
    study = _study()
    assert [each.name for each in plan_sets(study)] == ["one", "two"]
    shared = [each for each in plan_settings(study) if each.shares]
    assert {round(cost(each), 4) for each in shared} == set(study.grid.rungs)
    assert all((each.saving or 0) < 0.9 for each in shared)
    assert {each.method for each in shared} == {CALIBRATED, "ward", "average", "centroid"}


def test_a_plan_is_chosen_by_its_prediction_even_where_another_scores_higher() -> None:
    def score(setting: Setting) -> float:
        lucky = (setting.method, setting.solver, setting.steps) == (CALIBRATED, "ddim", 8)
        return rising(0.1)(setting) + 0.1 * lucky

    def predicted(setting: Setting) -> float:
        return float(setting.steps != 6) + float(setting.solver != "dpmsolver++")

    study = _study()
    ladder = read_ladder(study, made_up(plans.jobs(study), score, predicted), plan_sets(study)[0])
    assert ladder is not None
    assert len(ladder.rungs) == len(study.grid.rungs)
    for rung in ladder.rungs:
        assert (rung.chosen.setting.solver, rung.chosen.setting.steps) == ("dpmsolver++", 6)
        assert (rung.hindsight.setting.solver, rung.hindsight.setting.steps) == ("ddim", 8)
        assert rung.chosen.mean < rung.hindsight.mean


def test_a_rung_never_exceeds_its_budget() -> None:
    study = _study()
    ladder = read_ladder(study, made_up(plans.jobs(study), rising(0.1)), plan_sets(study)[0])
    assert ladder is not None
    for budget in np.linspace(0.1, 9, 90):
        rung = dearest_within(ladder.rungs, float(budget))
        within = [each for each in study.grid.rungs if each <= budget * 1.02]
        assert (rung and rung.evaluations) == max(within, default=None)
    assert ladder.rival.per_image == 8
    assert [rung and rung.evaluations for rung in ladder.spent().values()] == [1.6, 2.4, 4.0, 5.6]


def test_a_budget_that_is_larger_than_all_that_was_measured_is_named() -> None:
    said = plans.report(
        study := _study(rungs=(1.6, 2.4, 4.0)), made_up(plans.jobs(study), rising(0.2))
    )
    assert any("`one` at 70 % (4 of 5.6)" in each for each in said.sentences)
    assert not any("Not all of a budget" in each for each in _report(rising(0.2)).sentences)


def test_where_no_standard_setting_is_as_cheap_the_cheapest_is_compared_with() -> None:
    standards = [_measured(standard("ddim", 2), 0.1), _measured(standard("dpmsolver++", 2), 0.4),
                 _measured(standard("ddim", 4), 0.8)]  # fmt: skip
    assert best_affordable(standards, 1.2) is standards[1]
    assert best_affordable(standards, 3.0) is standards[1]
    assert best_affordable(standards, 4.0) is standards[2]
    rows = _report(rising(0.1)).tables[0].rows
    assert [("none is as cheap" in row[9]) for row in rows[:4]] == [True, False, False, False]


def test_plans_measured_before_the_model_was_calibrated_are_left_out_of_predictions() -> None:
    def predicted(setting: Setting) -> float:
        return 1 - rising(0.2)(setting) if setting.method == CALIBRATED else np.nan

    study = _study()
    ladder = read_ladder(
        study, made_up(plans.jobs(study), rising(0.2), predicted), plan_sets(study)[0]
    )
    assert ladder is not None
    assert {each.measured.setting.method for each in ladder.predictions} == {CALIBRATED}
    assert set(ladder.rungs[0].trees) == {"ward", "average", "centroid"}
    assert rank_misfits(ladder.predictions[:2]) is None


def test_gains_and_losses_are_told_without_a_goal() -> None:
    ahead = " ".join(_report(rising(0.2)).sentences)
    assert "calibrated plans score at least as high at 8 of 8 budgets." in ahead
    assert "above 0 on 2 of 2 sets (`one`, `two`)." in ahead
    behind = " ".join(_report(rising(-0.1)).sentences)
    assert "score at least as high at 0 of 8 budgets (`one` at 20 % -0.150 [" in behind
    assert "goal" not in ahead + behind


def test_every_picture_is_drawn() -> None:
    pictures = _report(rising(0.1)).pictures
    assert set(pictures) == {"plans-one.png", "plans-two.png"}
    assert all(draw().startswith(b"\x89PNG") for draw in pictures.values())
