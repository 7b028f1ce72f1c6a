"""The built-in sets, the paper's grids, methods and sections keep their promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper.grid import GRIDS, make_study
from benchmarks.paper.look_inside import choose_family
from benchmarks.paper.methods import METHODS
from benchmarks.paper.prompt_sets import DEVELOPMENT, FOLDER, REPORT, built_in_sets
from benchmarks.paper.sections import SECTIONS
from benchmarks.paper.write_sets import write_sets
from hierdiff_core.clustering.tree import build_tree
from hierdiff_core.evaluation.methods import PromptGroup, make_setting_plan
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.setting import Setting
from hierdiff_core.miniature import PROMPTS

SETS = built_in_sets()
SIZES = {"diverse": 600, "templates": 2000, "styles": 100, "words": 500, "subjects": 500,
         "tryon": 16}  # fmt: skip
VECTORS = np.random.default_rng(0).normal(size=(40, 6))


def test_there_is_a_set_for_each_of_the_papers() -> None:
    assert {each.name: len(each) for each in SETS if each.purpose == REPORT} == SIZES


def test_no_set_asks_for_a_prompt_twice() -> None:
    assert all(len(set(each.texts)) == len(each) for each in SETS)


def test_development_sets_share_no_combination_with_report_sets_and_hold_none_out() -> None:
    def named(purpose: str) -> set[tuple[str, ...]]:
        return {
            tuple(entry.attributes.values())
            for each in SETS
            if each.purpose == purpose
            for entry in each.entries
            if len(entry.attributes) == 5
        }

    assert not named(REPORT) & named(DEVELOPMENT)
    assert not any(
        entry.held_out for each in SETS if each.purpose == DEVELOPMENT for entry in each.entries
    )


def test_the_sets_are_those_that_are_written_anew(tmp_path: Path) -> None:
    write_sets(tmp_path / "sets", tmp_path / "prompts.csv")
    written = {each.name: each.read_bytes() for each in (tmp_path / "sets").iterdir()}
    assert written == {each.name: each.read_bytes() for each in FOLDER.iterdir()}
    assert (tmp_path / "prompts.csv").read_bytes() == PROMPTS.read_bytes()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_tells_what_it_can_of_nothing(section: str) -> None:
    study = make_study(GRIDS["quick"], SETS)
    report = SECTIONS[section].report(study, Results({}))
    assert report.title
    assert not report.pictures


def test_the_family_that_is_shown_fits_a_page() -> None:
    left, right = choose_family(build_tree(VECTORS))
    assert 2 <= len(left) + len(right) <= 16
    assert not set(left) & set(right)


@pytest.mark.parametrize("grid", GRIDS)
def test_small_catalogues_divide_the_sample_on_which_growth_is_measured(grid: str) -> None:
    chosen = GRIDS[grid]
    inside = [size for size in chosen.sizes if size <= chosen.sample]
    assert inside
    assert all(max(inside) % size == 0 for size in inside)


@pytest.mark.parametrize("method", METHODS)
def test_the_papers_methods_meet_their_budget(method: str) -> None:
    group = PromptGroup(VECTORS, [f"{at:02d}" for at in range(40)])
    plan = make_setting_plan([group], Setting(method, "ddim", 10, saving=0.4), METHODS)
    assert plan.saving >= 0.4
    assert plan.saving == pytest.approx(0.4, abs=0.03 if method == "ward-log" else 1 / 400 + 1e-9)


def test_development_sets_are_measured_less() -> None:
    study = make_study(GRIDS["default"], SETS)
    first, chosen_on = study.report[0], study.development[0]
    assert (len(study.sample(first)), len(study.sample(chosen_on))) == (150, 100)
    assert len(study.sharing(chosen_on)) < len(study.sharing(first))
    assert study.typical(first).saving == first.paper_saving
