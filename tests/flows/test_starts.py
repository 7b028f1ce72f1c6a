"""What is asked for travels as it was asked for."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from flows.starts import NightStart
from tasks.night_settings import NightSettings

NIGHT = date(2026, 11, 22)


def test_a_request_travels_whole_as_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = NightSettings(saving=0.4, source_file=Path("rows.csv"), options={"prior_steps": 5})
    parameters = NightStart("shoes", NIGHT, asked).parameters
    assert parameters["business_date"] == "2026-11-22"
    there = NightSettings.model_validate(parameters["settings"])
    # Workers stand in another folder.
    assert there == asked.model_copy(update={"source_file": tmp_path / "rows.csv"})


def test_each_replacement_of_a_night_is_a_flow_run_of_its_own() -> None:
    asked = NightSettings()
    starts = [
        NightStart("shoes", NIGHT, asked),
        NightStart("shoes", NIGHT, asked, replaced=1),
        NightStart("shoes", NIGHT, asked, replaced=1, replace=True),
    ]
    assert starts[0].key == "hierdiff/shoes/2026-11-22"
    assert len({start.key for start in starts}) == 3
    # What a worker is to replace has the key that its successor is found by.
    found_later = NightStart("shoes", NIGHT, asked, replaced=2)
    assert starts[2].key == found_later.key
