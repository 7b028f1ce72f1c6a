"""A night bears the date of its schedule's zone: one night a day, over both changes of clocks."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from prefect.runtime import flow_run
from prefect.server.schemas.schedules import CronSchedule

from flows.names import artifact_key, night_name
from flows.nightly import name_night, night_of_schedule
from tasks.business_date import date_in_zone

ZONES = ("Europe/Berlin", "Asia/Tokyo", "America/New_York", "UTC")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["0 1 * * *", "30 1 * * *", "30 2 * * *", "0 0 * * *"])
def test_every_day_of_a_schedule_has_one_night(zone: str, cron: str) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    starts = asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(400, first))
    days = [date_in_zone(zone, start) for start in starts]
    assert days == [days[0] + timedelta(days=each) for each in range(400)]


@pytest.mark.parametrize(
    ("zone", "start", "day"),
    [
        # The two starts that are on one day of UTC when Berlin's clocks go forward.
        ("Europe/Berlin", "2026-03-29T00:00:00+00:00", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T23:00:00+00:00", "2026-03-30"),
        # 02:30 comes twice when they go back.
        ("Europe/Berlin", "2026-10-25T00:30:00+00:00", "2026-10-25"),
        ("Europe/Berlin", "2026-10-25T01:30:00+00:00", "2026-10-25"),
        ("America/New_York", "2026-03-08T06:00:00+00:00", "2026-03-08"),
        ("America/New_York", "2026-11-01T05:00:00+00:00", "2026-11-01"),
        ("America/New_York", "2026-11-02T06:00:00+00:00", "2026-11-02"),
        ("Asia/Tokyo", "2026-11-21T16:00:00+00:00", "2026-11-22"),
        ("UTC", "2026-11-22T01:00:00+00:00", "2026-11-22"),
    ],
)
def test_a_scheduled_flow_run_is_for_the_day_of_its_zone(
    zone: str, start: str, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = datetime.fromisoformat(start)
    monkeypatch.setitem(flow_run.FIELDS, "scheduled_start_time", lambda: planned)
    assert night_of_schedule(zone) == date.fromisoformat(day)


def test_a_night_is_named_by_catalogue_date_and_zone() -> None:
    assert night_name("shoes", date(2026, 11, 22)) == "shoes 2026-11-22"
    berlin = night_name("shoes", date(2026, 11, 22), "Europe/Berlin")
    assert berlin == "shoes 2026-11-22 (Europe/Berlin)"


def test_a_flow_run_that_is_given_no_date_is_named_by_that_of_its_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned = datetime(2026, 11, 21, 16, tzinfo=UTC)
    monkeypatch.setitem(flow_run.FIELDS, "scheduled_start_time", lambda: planned)
    given = {"catalogue": "shoes", "settings": {"timezone": "Asia/Tokyo"}}
    monkeypatch.setitem(flow_run.FIELDS, "parameters", lambda: given)
    assert name_night() == "shoes 2026-11-22 (Asia/Tokyo)"


def test_each_catalogue_has_artifact_keys_of_its_own() -> None:
    names = ["shoes", "Shoes", "shoes!", "läden", "茶", "a b", "a-b", "-a-b", "x" * 200, "X" * 200]
    keys = {artifact_key("night", name) for name in names}
    assert len(keys) == len(names)
    assert artifact_key("night", "shoes") == "night-shoes"
    assert all(
        len(key) < 80 and set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for key in keys
    )
