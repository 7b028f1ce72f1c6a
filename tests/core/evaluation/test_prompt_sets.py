"""Prompt sets, units and methods of the evaluation keep their promises."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff_core.errors import EmptyPrompt, InvalidSetting, MissingColumn, WrongType
from hierdiff_core.evaluation.grid import GRIDS, make_study
from hierdiff_core.evaluation.methods import METHODS, PromptGroup, make_setting_plan
from hierdiff_core.evaluation.prompt_sets import (
    Entry,
    PromptSet,
    choose_sets,
    read_sets,
    sample,
)
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.sections import SECTIONS
from hierdiff_core.evaluation.setting import Setting, standard
from hierdiff_core.evaluation.unit import Outcome, make_unit, needed_segments

SETS = (
    PromptSet("large", "large", tuple(Entry(f"a mug {at}", at % 10 == 0) for at in range(2000))),
    PromptSet("small", "small", tuple(Entry(f"a lamp {at}") for at in range(16))),
)
VECTORS = np.random.default_rng(0).normal(size=(40, 6))
GROUP = PromptGroup(VECTORS, [f"{at:02d}" for at in range(40)])


def test_a_sample_is_the_same_each_time_and_half_of_it_held_out_where_it_can_be() -> None:
    large = choose_sets(SETS, ["large"])[0]
    places = sample(large, 200)
    assert places == sample(large, 200)
    assert len(set(places)) == 200
    assert sum(bool(large.entries[place].held_out) for place in places) >= 100


def test_a_small_set_is_scored_whole() -> None:
    assert sample(choose_sets(SETS, ["small"])[0], 200) == tuple(range(16))


def test_a_users_file_becomes_one_set_for_each_name() -> None:
    rows = [
        {"set": "shoes", "prompt": "a red shoe", "held_out": "yes"},
        {"set": "shoes", "prompt": " a red shoe "},
        {"set": "hats", "prompt": "a hat"},
        {"set": None, "prompt": "a mug"},
    ]
    sets = read_sets(enumerate(rows, start=2), "mine")
    assert {each.name: each.texts for each in sets} == {
        "shoes": ("a red shoe",),
        "hats": ("a hat",),
        "mine": ("a mug",),
    }
    assert sets[0].entries[0].held_out


def test_a_users_file_without_prompts_is_refused_by_column_and_row() -> None:
    with pytest.raises(MissingColumn, match="prompt"):
        read_sets([(2, {"title": "mug"})], "mine")
    with pytest.raises(EmptyPrompt, match="Row 3"):
        read_sets([(2, {"prompt": "mug"}), (3, {"prompt": "NULL"})], "mine")
    with pytest.raises(WrongType, match="Row 2"):
        read_sets([(2, {"prompt": "caf\udce9"})], "mine")
    with pytest.raises(InvalidSetting, match="no rows"):
        read_sets([], "mine")


def test_an_unknown_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidSetting, match="small"):
        choose_sets(SETS, ["animals"])


@pytest.mark.parametrize("method", [each for each in METHODS if each != "standard"])
def test_every_method_meets_its_budget_to_the_evaluation(method: str) -> None:
    plan = make_setting_plan([GROUP], Setting(method, "ddim", 10, saving=0.4))
    assert plan.saving >= 0.4
    assert plan.saving == pytest.approx(0.4, abs=1 / 400 + 1e-9)


def test_groups_share_nothing_with_each_other_and_meet_one_budget() -> None:
    groups = [
        PromptGroup(VECTORS[:16], GROUP.keys[:16]),
        PromptGroup(VECTORS[16:], GROUP.keys[16:]),
    ]
    plan = make_setting_plan(groups, Setting("ward", "ddim", 10, saving=0.5))
    assert plan.saving == pytest.approx(0.5, abs=0.01)
    for segment in plan.segments:
        assert len({leaf < 16 for leaf in plan.members(segment)}) == 1


def test_a_saving_that_a_set_cannot_reach_is_refused() -> None:
    with pytest.raises(InvalidSetting):
        make_setting_plan(
            [PromptGroup(VECTORS[:2], ["a", "b"])], Setting("ward", "ddim", 4, saving=0.9)
        )
    with pytest.raises(InvalidSetting, match="method"):
        make_setting_plan([GROUP], Setting("magic", "ddim", 4))


def test_a_samples_pictures_take_only_the_segments_above_them() -> None:
    plan = make_setting_plan([GROUP], Setting("ward", "ddim", 10, saving=0.5))
    needed = needed_segments(plan, [3])
    assert needed == {segment.id for segment in plan.path(plan.leaf_segment(3))}
    assert needed_segments(plan, range(40)) == {segment.id for segment in plan.segments}


def test_where_nothing_is_shared_the_rest_of_the_set_does_not_matter() -> None:
    alone = standard("ddim", 5)
    assert make_unit(["a", "b", "c"], [1], alone) == make_unit(["b", "x"], [0], alone)
    shared = Setting("ward", "ddim", 5, saving=0.1)
    assert make_unit(["a", "b"], [1], shared) != make_unit(["b", "x"], [0], shared)


def test_a_key_changes_with_the_model_and_the_setting() -> None:
    unit = make_unit(["a"], [0], standard("ddim", 5))
    keys = {
        unit.key(["model", 1]),
        unit.key(["model", 2]),
        make_unit(["a"], [0], standard("ddim", 6)).key(["model", 1]),
        make_unit(["b"], [0], standard("ddim", 5)).key(["model", 1]),
    }
    assert len(keys) == 4
    assert unit.key(["model", 1]) in keys


def test_an_outcome_comes_back_from_its_bytes() -> None:
    outcome = Outcome(
        {"attributes": np.array([0.5, np.nan]), "clip": np.array([20.0, 21.0])},
        np.ones((1, 3), np.float32),
        {"colour": np.array([1.0, np.nan])},
        np.zeros((1, 4, 4, 3), np.uint8),
        {"evaluations": 7.0, "images": 2.0},
    )
    back = Outcome.unpack(outcome.pack())
    assert np.array_equal(back.main, outcome.main, equal_nan=True)
    assert list(back.scores) == ["attributes", "clip"]
    assert (back.missing, back.per_image) == (1, 3.5)
    assert back.features is not None
    assert np.array_equal(back.right["colour"], outcome.right["colour"], equal_nan=True)


def test_a_failed_picture_leaves_its_setting_without_figures() -> None:
    study = make_study(GRIDS["quick"], SETS)
    prompts = study.sets[0]
    unit = study.unit(prompts, study.reference)
    scores = np.full(len(unit.scored), 0.5)
    scores[0] = np.nan
    facts = {"evaluations": 6.0, "images": 1.0}
    pictures = np.zeros((0, 4, 4, 3), np.uint8)
    results = Results({unit: Outcome({"attributes": scores}, None, {}, pictures, facts)})
    assert results.measured(study, prompts, study.reference) is None
    assert results.lack(unit) == f"incomplete: 1 of {len(scores)} failed"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_tells_what_it_can_of_nothing(section: str) -> None:
    report = SECTIONS[section].report(make_study(GRIDS["quick"], SETS), Results({}))
    assert report.title
    assert not report.pictures


@pytest.mark.parametrize("grid", GRIDS)
def test_the_reference_is_among_the_standard_settings_of_every_grid(grid: str) -> None:
    study = make_study(GRIDS[grid], SETS)
    assert study.reference in study.standards()
    assert study.reference.solver == "ddpm"
