"""Who holds a lease goes on; who has lost it neither takes a step nor writes a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, update

from tasks import ledger
from tasks.errors import LeaseHeld, LeaseLost, PoisonedNight
from tasks.holder import holding
from tasks.lease import Hold, leased_night, leased_subtree
from tasks.records import Subtree
from tasks.states import SubtreeState
from tasks.storage import Bucket
from tasks.stores import Stores
from tests.tasks.conftest import NIGHT


@pytest.fixture
def stores(database: Engine, bucket: Bucket) -> Stores:
    return Stores(database, bucket)


@contextmanager
def held_by(stores: Stores, run: UUID, owner: str, seconds: float = 60.0) -> Iterator[Hold]:
    with leased_subtree(stores, run, 1, owner, seconds) as hold:
        yield hold


def take_over(stores: Stores, run: UUID) -> ledger.Lease:
    """Take the lease as another machine does when the clock of the ledger has jumped."""
    with stores.session() as session:
        session.execute(update(Subtree).values(lease_until=func.now() - timedelta(seconds=1)))
        return ledger.take_lease(session, run, 1, "successor", 60)


def lose(stores: Stores, run: UUID, then: Callable[[Hold], None]) -> None:
    """Lose a lease to another worker, and go on."""
    with held_by(stores, run, "sleeper") as hold:
        take_over(stores, run)
        then(hold)


def test_who_has_lost_the_lease_writes_nothing_and_leaves_the_subtree_to_the_other(
    stores: Stores, run: UUID
) -> None:
    def write(hold: Hold) -> None:
        with hold.session() as session:
            ledger.add_evaluations(session, run, 1, done=5)

    with pytest.raises(LeaseLost):
        lose(stores, run, write)
    with stores.session() as session:
        line = ledger.summarise(session, run).subtrees[1]
    assert (line.evaluations_done, line.lease_owner) == (0, "successor")
    assert (line.state, line.error) == (SubtreeState.RUNNING, None)


def test_a_loss_is_noticed_before_a_taker_takes_its_first_step(stores: Stores, run: UUID) -> None:
    def later(hold: Hold) -> None:
        time.sleep(1.5)  # a taker waits two seconds
        hold.check()

    with pytest.raises(LeaseLost):
        lose(stores, run, later)


def test_a_worker_that_was_stopped_asks_before_its_next_step(stores: Stores, run: UUID) -> None:
    def after_a_stop(hold: Hold) -> None:
        hold._until = time.monotonic()  # as after one that outlasted the lease
        hold.check()

    with pytest.raises(LeaseLost):
        lose(stores, run, after_a_stop)


def test_a_second_process_of_an_owner_waits_for_the_first(stores: Stores, run: UUID) -> None:
    order: list[str] = []

    def second() -> None:
        with held_by(stores, run, "flow"):
            order.append("second")

    with held_by(stores, run, "flow"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    with stores.session() as session:
        assert ledger.summarise(session, run).subtrees[1].attempts == 2


def test_another_owner_does_not_wait(stores: Stores, run: UUID) -> None:
    with held_by(stores, run, "one"), pytest.raises(LeaseHeld), held_by(stores, run, "two"):
        pytest.fail("the lease is held")


def test_a_night_that_crashes_again_and_again_stops_and_a_retry_by_hand_starts_anew(
    stores: Stores,
) -> None:
    for _ in range(5):
        with holding() as gone, stores.session() as session:
            night = ledger.claim_night(session, "shop", NIGHT)
            ledger.take_night(session, night, "a flow run", 60, holder=gone)
    with (
        pytest.raises(PoisonedNight, match="5 times in a row"),
        leased_night(stores, "shop", NIGHT, "a flow run", 60),
    ):
        pass
    with leased_night(stores, "shop", NIGHT, "a flow run", 60) as (night, _):
        assert night.run is None
