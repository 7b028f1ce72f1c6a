"""Where the time went: the lines add up to the night, however its subtrees lay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.report.gather import gather_report
from tasks.report.timeline import PUBLISH, STORE, WAIT, Span, make_timeline
from tasks.settings import Settings
from tasks.states import Stage
from tests.tasks.night_kit import published

BEGIN = datetime(2026, 11, 30, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return BEGIN + timedelta(seconds=second)


def test_two_subtrees_side_by_side_take_their_time_once() -> None:
    seconds: dict[str, float] = {
        Stage.READ: 1.0,
        Stage.PLAN: 2.0,
        Stage.LOAD: 4.0,
        Stage.DENOISE: 12.0,
    }
    spans = [(at(5), at(15)), (at(5), at(15))]
    assert make_timeline(seconds, spans, at(0), at(18)) == {
        Stage.READ: 1.0,
        Stage.EMBED: 0.0,
        Stage.PLAN: 2.0,
        WAIT: 5.0,
        Stage.LOAD: 2.0,
        Stage.PROBE: 0.0,
        Stage.DENOISE: 6.0,
        Stage.DECODE: 0.0,
        Stage.SAMPLE: 0.0,
        STORE: 2.0,
        PUBLISH: 3.0,
    }


def test_the_time_between_two_subtrees_waits_for_a_worker() -> None:
    timeline = make_timeline({}, [(at(10), at(12)), (at(1), at(4))], at(0), at(12))
    assert (timeline[WAIT], timeline[STORE], timeline[PUBLISH]) == (7.0, 5.0, 0.0)


def test_a_night_whose_pictures_are_all_kept_is_only_published() -> None:
    assert {each for each in make_timeline({}, [], at(0), at(3)).values() if each} == {3.0}


@st.composite
def nights(draw: st.DrawFn) -> tuple[dict[str, float], list[Span]]:
    """Subtrees after the plan, whose workers spend no more on stages than they take."""
    spans = list[Span]()
    seconds: dict[str, float] = {Stage.READ: 1.5, Stage.EMBED: 2.5, Stage.PLAN: 0.5}
    for _ in range(draw(st.integers(0, 6))):
        start, length = draw(st.integers(0, 90)), draw(st.integers(1, 60))
        spans.append((at(start), at(start + length)))
        stage = draw(st.sampled_from([Stage.LOAD, Stage.DENOISE, Stage.DECODE]))
        seconds[stage] = seconds.get(stage, 0.0) + draw(st.floats(0, 1)) * length
    return seconds, spans


@given(nights())
def test_the_lines_add_up_to_the_night(night: tuple[dict[str, float], list[Span]]) -> None:
    seconds, spans = night
    timeline = make_timeline(seconds, spans, at(0), at(160))
    assert sum(timeline.values()) == pytest.approx(160 + 4.5)
    assert min(timeline.values()) >= 0


@pytest.mark.slow
def test_a_report_says_where_all_of_the_time_went(settings: Settings, tmp_path: Path) -> None:
    with published(settings, tmp_path) as night:
        report = gather_report(night.stores, night.settings, night.run)
    assert report.seconds is not None
    assert sum(each.seconds for each in report.stages) == pytest.approx(report.seconds)
    assert {Stage.LOAD, Stage.DENOISE, STORE, PUBLISH} <= {each.name for each in report.stages}
