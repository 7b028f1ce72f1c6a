"""A flow run whose processes die before they take a lease is not started for ever."""

from __future__ import annotations

from datetime import date
from unittest.mock import ANY
from uuid import UUID

import pytest
from sqlalchemy import Engine

from hierdiff_core.recipe import Recipe
from tasks import ledger
from tasks.database import session_scope
from tasks.errors import PoisonedStart
from tasks.lease import CRASHES
from tasks.starts import note_end, note_start, weights_of
from tasks.states import RunState
from tests.tasks.conftest import make_prompts

FLOW_RUN = "6f1c9a52-0000-4000-8000-000000000000"


@pytest.fixture
def here(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A worker's environment, which names the ledger."""
    url = database.url.render_as_string(hide_password=False)
    monkeypatch.setenv("HIERDIFF_DATABASE_URL", url)
    return database


def start(times: int) -> None:
    for _ in range(times):
        note_start(FLOW_RUN)


def test_a_run_is_started_no_more_after_five_deaths_and_counted_anew_by_a_retry(
    here: Engine,
) -> None:
    start(CRASHES)
    with pytest.raises(PoisonedStart, match="5 processes of this flow run died"):
        start(1)
    start(CRASHES)


def test_another_flow_run_has_a_count_of_its_own(here: Engine) -> None:
    start(CRASHES)
    note_start("another")


def test_an_end_that_a_process_reports_itself_is_no_death(here: Engine) -> None:
    for _ in range(3 * CRASHES):
        start(1)
        note_end(FLOW_RUN)


def test_deaths_after_a_subtree_was_taken_are_the_lease_s_to_count(here: Engine, run: UUID) -> None:
    start(CRASHES)
    with session_scope(here) as session:
        ledger.take_lease(session, run, 1, "me", 60, flow_run_id=FLOW_RUN)
    start(CRASHES)


def test_deaths_after_a_night_was_taken_are_the_lease_s_to_count(here: Engine) -> None:
    start(CRASHES)
    with session_scope(here) as session:
        night = ledger.claim_night(session, "shop", date(2026, 11, 22))
        ledger.take_night(session, night, FLOW_RUN, 60)
    start(CRASHES)


def test_a_night_that_is_not_started_any_more_has_failed(here: Engine, run: UUID) -> None:
    with session_scope(here) as session:
        ledger.set_run_state(session, run, RunState.RUNNING)
        ledger.note_flow_run(session, run, FLOW_RUN)
    start(CRASHES)
    with pytest.raises(PoisonedStart):
        start(1)
    with session_scope(here) as session:
        assert ledger.find_carrier(session, run)[0] is RunState.FAILED


@pytest.mark.parametrize("url", ["", "postgresql://x@127.0.0.1:1/x"])
def test_a_worker_without_a_ledger_starts_what_will_say_so(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HIERDIFF_DATABASE_URL", url)
    start(CRASHES + 1)


def test_a_worker_learns_the_weights_of_a_run_and_holds_none_where_it_is_not_to(
    here: Engine, run: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_scope(here) as session:
        recipe = ledger.find_recipe(session, run)
    assert weights_of(str(run)) == {"recipe": recipe, "digests": ANY}
    assert Recipe.from_json(recipe or {}) == make_prompts(1)[0].recipe
    for unknown in (FLOW_RUN, "no run"):
        assert weights_of(unknown) is None
    for setting, value in (("HOLD_WEIGHTS", "false"), ("COMPILE", "true"), ("STEPS", "many")):
        with monkeypatch.context() as changed:
            changed.setenv(f"HIERDIFF_{setting}", value)
            assert weights_of(str(run)) is None
