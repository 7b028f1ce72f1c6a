"""The slots of a run: found once, kept with it, whatever the settings or other workers say."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import Engine

from hierdiff_core.probe import Probe
from tasks import ledger
from tasks.database import session_scope
from tasks.settings import Settings
from tasks.storage import Bucket
from tasks.stores import Stores
from tasks.worker.slots import settle_slots


@pytest.fixture
def stores(database: Engine, bucket: Bucket) -> Stores:
    return Stores(database, bucket)


def find_out() -> Probe:
    return Probe(8, {4: 90.0, 8: 110.0})


def never() -> Probe:
    pytest.fail("there is nothing to find out")


def test_a_probe_finds_the_slots_and_the_ledger_keeps_them(
    stores: Stores, settings: Settings, run: UUID
) -> None:
    assert settings.slots == "auto"
    assert settle_slots(stores, settings, run, find_out) == 8
    assert settle_slots(stores, settings, run, never) == 8
    with stores.session() as session:
        kept = ledger.summarise(session, run).details["probe"]
    assert kept == {"rows_per_second": {"4": 90.0, "8": 110.0}}


def test_slots_that_are_set_are_not_looked_for_and_stay_with_the_run(
    stores: Stores, settings: Settings, run: UUID
) -> None:
    assert settle_slots(stores, settings.model_copy(update={"slots": 3}), run, never) == 3
    assert settle_slots(stores, settings.model_copy(update={"slots": 5}), run, never) == 3


def test_of_two_workers_the_first_decides(database: Engine, run: UUID) -> None:
    with session_scope(database) as session:
        assert ledger.keep_slots(session, run, 16) == 16
    with session_scope(database) as session:
        assert ledger.keep_slots(session, run, 4) == 16
