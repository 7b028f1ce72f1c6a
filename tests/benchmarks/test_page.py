"""The page says what was measured, and plainly where a goal was missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.outcome import Column, Figure, Goal, Outcome, Plot, Table
from benchmarks.page import write_page
from benchmarks.pairs import Spread, alternate, rotated
from benchmarks.plots import draw_plots, plot_name

PLOT = Plot("Realised saving", "prompts, N", "share", {"50 %": [(16, 0.9), (100, 0.95)]})
OUTCOME = Outcome(
    figures=(
        Figure("ratio", 1.02, low=0.98, high=1.04, goal=Goal(least=1.0)),
        Figure("cost", 0.031, ".1%", goal=Goal(most=0.02)),
        Figure("seconds", 2.0, ".1f", "s"),
    ),
    tables=(Table("By N", (Column("N", ",d"), Column("GiB", ".2f")), [(2000, 0.5), (9, None)]),),
    plots=(PLOT,),
    notes=("Measured in laps.",),
    data={"laps": [1.0, 2.0]},
)


def store(folder: Path, name: str, outcome: Outcome, **changed: Any) -> None:
    machine = {"cpu": "a CPU", "cores": 2, "memory_gib": 24.0, "system": "Linux", "gpu": ""}
    machine |= {"driver": "", "python": "3.11", "versions": {"torch": "2"}, "threads": 2}
    fields = {"benchmark": name, "title": "A title", "quick": False, "seconds": 3.0}
    fields |= {"machine": machine | {"commit": "abc1234", "date": "2026-11-22"}}
    stored = fields | {"outcome": outcome.to_json()} | changed
    (folder / f"{name}.json").write_text(json.dumps(stored))


@pytest.fixture
def page(tmp_path: Path) -> str:
    store(tmp_path, "saving", OUTCOME)
    store(tmp_path, "gpu", Outcome(skipped="no GPU is here"), quick=True)
    return write_page(tmp_path).read_text()


def test_an_outcome_is_the_same_after_json() -> None:
    written = json.dumps(OUTCOME.to_json())
    again = Outcome.from_json(json.loads(written))
    assert json.dumps(again.to_json()) == written
    assert again.figures == OUTCOME.figures


def test_a_figure_stands_beside_its_goal_with_hit_or_miss(page: str) -> None:
    assert "| ratio | 1.020 (0.980 to 1.040) | >= 1.000 | hit |" in page
    assert "| cost | 3.1% | <= 2.0% | **miss** |" in page
    assert "| seconds | 2.0 s |  |  |" in page
    assert "1 of 2 figures hit their goal" in page


def test_the_page_tells_machine_commit_threads_tables_and_notes(page: str) -> None:
    for told in ("a CPU, 2 cores, 24.0 GiB", "commit abc1234", "2 threads", "torch 2",
                 "| 2,000 | 0.50 |", "| 9 | - |", "- Measured in laps."):  # fmt: skip
        assert told in page


def test_what_was_skipped_or_quick_says_so(page: str) -> None:
    assert "Skipped: no GPU is here." in page
    assert "its figures mean nothing" in page


def test_plots_lie_where_the_page_points_to(page: str, tmp_path: Path) -> None:
    draw_plots(tmp_path, "saving", OUTCOME)
    assert f"]({plot_name('saving', PLOT)})" in page
    assert (tmp_path / plot_name("saving", PLOT)).stat().st_size > 1000


def test_each_lap_starts_with_another_side_and_measures_all() -> None:
    called: list[str] = []

    def side(name: str, seconds: float) -> dict[str, float]:
        called.append(name)
        return {"whole": seconds}

    laps = alternate({"a": lambda: side("a", 2.0), "b": lambda: side("b", 4.0)}, 3)
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert laps.ratio("b", "a", "whole") == Spread((2.0, 2.0, 2.0))
    assert rotated(["a", "b", "c"], 4) == ["b", "c", "a"]
