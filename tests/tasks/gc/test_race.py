"""A split that is about to go, and a night that is about to join it: one of the two comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest
from sqlalchemy import text

from tasks import ledger
from tasks.errors import GroundLost
from tasks.gc.collect import collect_garbage
from tasks.gc.retention import Retention
from tasks.ledger.removal import (
    forget_splits,
    lock_night,
    remove_idle_embeddings,
    remove_night,
)
from tasks.ledger.retention import OldNight, old_nights
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import (
    ONE,
    StoredNight,
    count,
    dangling,
    draft_night,
    keys,
    make_nights,
    store_draft,
)

Result = TypeVar("Result")


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        yield opened


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def waiting(stores: Stores, pool: ThreadPoolExecutor, call: Callable[[], Result]) -> Future[Result]:
    """Start a call and return once it waits for a lock."""
    future = pool.submit(call)
    blocked = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while True:
        with stores.session() as session:
            if session.execute(blocked).scalar_one():
                return future
        assert not future.done(), future.result()


def first_and_draft(stores: Stores) -> tuple[OldNight, StoredNight, list[int]]:
    """Make an old night, and plan another that stands on all of it."""
    make_nights(stores, (1, 2, 3, 4), (5, 6, 7, 8))
    with stores.session() as session:
        (old,) = old_nights(session, 1, 0.0)
    draft = draft_night(stores, (1, 2, 3, 4), 2)
    return old, draft, [segment.id for segment in draft.plan.plan.segments]


def test_a_night_is_planned_again_where_what_it_stands_on_goes_first(
    stores: Stores, pool: ThreadPoolExecutor
) -> None:
    old, draft, standing = first_and_draft(stores)

    def store() -> object:
        with stores.session() as session:
            return store_draft(session, draft, 2, standing=standing)

    with stores.session() as session:
        assert lock_night(session, old)
        remove_night(session, old)
        planning = waiting(stores, pool, store)
    with pytest.raises(GroundLost, match=f"on {len(standing)} splits"):
        planning.result()
    assert count(stores, "runs") == 1


def test_a_night_that_is_stored_first_keeps_what_it_stands_on(
    stores: Stores, pool: ThreadPoolExecutor
) -> None:
    _, draft, standing = first_and_draft(stores)
    before = keys(stores, "checkpoints/") | keys(stores, "images/")
    with stores.session() as session:
        run = store_draft(session, draft, 2, standing=standing)
        removing = waiting(stores, pool, lambda: collect_garbage(stores, ONE))
    assert {lot.kind: lot.count for lot in removing.result()}["batches"] == 1
    assert before == keys(stores, "checkpoints/") | keys(stores, "images/")
    assert dangling(stores) == []
    with stores.session() as session:
        assert len(ledger.stored_segments(session, run)) == len(standing)


@pytest.mark.parametrize("forgotten_first", [True, False])
def test_splits_are_forgotten_or_joined_whichever_comes_first(
    stores: Stores, pool: ThreadPoolExecutor, *, forgotten_first: bool
) -> None:
    (night,) = make_nights(stores, (1, 2, 3, 4))
    draft = draft_night(stores, (1, 2, 3, 4), 1)
    plan = night.plan.plan
    with stores.session() as session:
        done = ledger.stored_segments(session, night.run)
    splits = {done[each.id].sha256 for each in plan.segments if not plan.is_leaf(each)}

    def store() -> object:
        with stores.session() as session:
            return store_draft(session, draft, 1, standing=range(len(plan.segments)))

    def forget() -> set[str]:
        with stores.session() as session:
            return forget_splits(session, splits)

    with stores.session() as session:
        if forgotten_first:
            assert forget_splits(session, splits) == splits
            second = waiting(stores, pool, store)
        else:
            store_draft(session, draft, 1, standing=range(len(plan.segments)))
            second = waiting(stores, pool, forget)
    if forgotten_first:
        with pytest.raises(GroundLost, match=f"on {len(splits)} splits"):
            second.result()
    else:
        assert second.result() == set()


def test_an_embedding_that_a_night_is_about_to_name_is_passed_over(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4))
    draft = draft_night(stores, (1, 2, 3, 9), 1)
    with stores.session() as session:
        store_draft(session, draft, 1)
        with stores.session() as other:
            assert remove_idle_embeddings(other, (), 0.0, 10)[0] == 0
    assert count(stores, "embeddings") == 5


def test_a_night_whose_embedding_goes_first_is_planned_again(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4))
    draft = draft_night(stores, (1, 2, 3, 9), 1)
    with stores.session() as session:
        assert remove_idle_embeddings(session, (), 0.0, 10)[0] == 1
    with stores.session() as session, pytest.raises(GroundLost, match="on 1 splits or embeddings"):
        store_draft(session, draft, 1)


def test_a_night_that_goes_while_another_removes_it_goes_once(
    stores: Stores, pool: ThreadPoolExecutor
) -> None:
    old, *_ = first_and_draft(stores)

    def lock() -> bool:
        with stores.session() as session:
            return lock_night(session, old)

    with stores.session() as session:
        assert lock_night(session, old)
        remove_night(session, old)
        second = waiting(stores, pool, lock)
    assert second.result() is False


def test_a_worker_that_takes_a_subtree_first_keeps_its_night(
    stores: Stores, pool: ThreadPoolExecutor
) -> None:
    old, *_ = first_and_draft(stores)
    with stores.session() as session:
        ledger.take_lease(session, old.run, 1, "worker", 60.0)  # type: ignore[arg-type]
        removing = waiting(stores, pool, lambda: collect_garbage(stores, Retention(1, settled=0.0)))
    assert "batches" not in {lot.kind for lot in removing.result()}
    assert count(stores, "batches") == 3
