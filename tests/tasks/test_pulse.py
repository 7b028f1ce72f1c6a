"""A night sees in seconds that a subtree's worker is gone, before or after its work was stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine

from tasks import pulse
from tasks.database import session_scope
from tasks.ledger import Lease, release_lease, renew_lease, take_lease
from tasks.pulse import Pulse
from tasks.settings import Settings
from tasks.states import SubtreeState
from tasks.stores import open_stores

SHORT = 0.2


@pytest.fixture
def looks(settings: Settings, run: UUID, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulse]:
    monkeypatch.setattr(pulse, "SILENCE", SHORT)
    with open_stores(settings) as stores:
        yield Pulse(stores, run, 1)


def take(database: Engine, run: UUID) -> Lease:
    with session_scope(database) as session:
        return take_lease(session, run, 1, "worker", 60.0, holder="", flow_run_id="flow")


def later(looks: Pulse) -> bool:
    looks.is_silent()
    time.sleep(1.5 * SHORT)
    return looks.is_silent()


def test_a_lease_that_nobody_renews_is_silent(looks: Pulse, database: Engine, run: UUID) -> None:
    take(database, run)
    assert later(looks)


def test_a_lease_that_is_renewed_is_not(looks: Pulse, database: Engine, run: UUID) -> None:
    lease = take(database, run)
    assert not looks.is_silent()
    time.sleep(1.5 * SHORT)
    with session_scope(database) as session:
        renew_lease(session, lease, 60.0)
    assert not looks.is_silent()


def test_a_subtree_that_nobody_has_begun_is_waited_for(looks: Pulse) -> None:
    assert not later(looks)


def test_a_subtree_that_is_stored_but_whose_flow_run_goes_on_is_silent(
    looks: Pulse, database: Engine, run: UUID
) -> None:
    lease = take(database, run)
    with session_scope(database) as session:
        release_lease(session, lease, SubtreeState.COMPLETED)
    assert later(looks)
