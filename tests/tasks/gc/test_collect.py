"""What retention does not keep is shown and goes; all else stays, in ledger and bucket."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import text

from hierdiff_core.prompt import negative_key
from tasks import ledger
from tasks.errors import ForeignNights
from tasks.gc.collect import collect_garbage
from tasks.gc.find import find_garbage
from tasks.gc.retention import Retention
from tasks.object_keys import CHECKPOINTS, KINDS, checkpoint_key, manifest_key, picture_key
from tasks.records import Base
from tasks.settings import Settings
from tasks.states import RunState, SubtreeState
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import (
    ONE,
    count,
    dangling,
    date_of,
    finish,
    keys,
    make_nights,
    plan_night,
)


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        yield opened


def pictures_of(stores: Stores, run: uuid.UUID) -> set[str]:
    with stores.session() as session:
        return {image.key for image in ledger.load_images(session, run).values()}


def test_what_would_go_is_what_goes_and_what_is_shown_stays(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 6))
    before, rows = keys(stores), count(stores, "segments")
    shown = find_garbage(stores, ONE)
    assert (keys(stores), count(stores, "segments")) == (before, rows)
    assert {lot.kind for lot in shown} >= {"batches", "segments", "images", "images/", "reports/"}
    gone = collect_garbage(stores, ONE)
    assert {lot.kind: lot for lot in gone} == {lot.kind: lot for lot in shown}
    sizes = {lot.kind: (lot.count, lot.bytes) for lot in gone}
    assert sizes["batches"][0] == 2
    assert sizes["manifests/"] == (2, 14)
    assert len(before - keys(stores)) == sum(n for kind, (n, _) in sizes.items() if "/" in kind)
    assert find_garbage(stores, ONE) == () == collect_garbage(stores, ONE)


def test_a_removed_night_leaves_no_row_in_any_table(stores: Stores) -> None:
    first, second = make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
    collect_garbage(stores, ONE)
    for table in Base.metadata.tables.values():
        if "run_id" in table.c:
            with stores.session() as session:
                runs = set(session.execute(text(f"SELECT run_id FROM {table.name}")).scalars())
            assert runs <= {second.run}, table.name
    assert count(stores, "batches") == count(stores, "runs") == 1
    assert first.run != second.run


def test_a_picture_of_the_latest_night_stays_whoever_made_it(stores: Stores) -> None:
    first, second = make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 4))
    assert pictures_of(stores, second.run) == pictures_of(stores, first.run)
    collect_garbage(stores, ONE)
    assert pictures_of(stores, second.run) <= keys(stores)
    assert dangling(stores) == []


def test_another_catalogue_keeps_its_own_nights(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4))
    other = plan_night(stores, (1, 2, 7, 8), 0, "outlet")
    finish(stores, other)
    assert find_garbage(stores, ONE) == ()


def test_nights_that_never_came_to_an_end_do_not_count_as_kept(stores: Stores) -> None:
    first = plan_night(stores, (1, 2, 3), 0)
    finish(stores, first)
    for day in (1, 2, 3):
        finish(stores, plan_night(stores, (1, 2, 3 + day), day), RunState.FAILED)
    assert find_garbage(stores, ONE) == ()


def test_the_last_date_stays_though_older_dates_were_made_after_it(stores: Stores) -> None:
    last = plan_night(stores, (1, 2, 3), 9)
    finish(stores, last)
    for day in (1, 2):
        finish(stores, plan_night(stores, (4, 5, 6), day))
    gone = {lot.kind: lot.count for lot in collect_garbage(stores, ONE)}
    assert gone["batches"] == 1
    with stores.session() as session:
        assert ledger.find_night(session, "shop", date_of(9)) is not None
        assert ledger.find_night(session, "shop", date_of(1)) is None
        assert ledger.find_night(session, "shop", date_of(2)) is not None


def test_a_night_that_somebody_works_on_stays(stores: Stores) -> None:
    first = plan_night(stores, (1, 2, 3), 0)
    finish(stores, plan_night(stores, (4, 5, 6), 1))
    finish(stores, plan_night(stores, (4, 5, 6), 2))
    with stores.session() as session:
        lease = ledger.take_lease(session, first.run, 1, "worker", 60.0)
    gone = {lot.kind: lot.count for lot in find_garbage(stores, ONE)}
    assert gone["batches"] == 1
    with stores.session() as session:
        ledger.release_lease(session, lease, SubtreeState.WAITING)
    gone = {lot.kind: lot.count for lot in find_garbage(stores, ONE)}
    assert gone["batches"] == 2


def test_nights_and_objects_of_the_last_day_stay(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
    stores.bucket.put(picture_key("0" * 64), b"nobody names it")
    assert find_garbage(stores, Retention(1)) == ()


def test_objects_that_no_row_names_go_and_those_of_others_stay(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4))
    before = keys(stores)
    orphans = {kind.key("a" * 64) for kind in KINDS if kind.name_of(kind.key("a" * 64))}
    assert len(orphans) == 9  # of five kinds, and of renditions in four formats
    others = {
        "checkpoints/model.safetensors",
        "images/shoe.png",
        f"images/{'a' * 64}.jpg",
        f"images/{'A' * 64}.png",
        f"images/thumbs/{'a' * 64}.png",
        f"backup/images/{'a' * 64}.png",
        "manifests/index.json",
        f"reports/{uuid.uuid4()}/notes.html",
        "index.html",
    }
    for key in orphans | others:
        stores.bucket.put(key, b"x")
    assert sum(lot.count for lot in find_garbage(stores, ONE)) == len(orphans)
    collect_garbage(stores, ONE)
    assert keys(stores) == before | others


def test_the_prefix_of_another_ledger_is_never_read(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4))
    theirs = replace(stores.bucket, prefix="theirs/")
    theirs.put(picture_key("a" * 64), b"x")
    collect_garbage(stores, ONE)
    assert set(theirs.list()) == {picture_key("a" * 64)}


def test_nights_that_the_ledger_does_not_know_are_refused_until_they_are_named(
    stores: Stores,
) -> None:
    make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
    stranger = uuid.uuid4()
    stores.bucket.put(manifest_key(stranger), b"{}")
    before = keys(stores)
    for work in (find_garbage, collect_garbage):
        with pytest.raises(ForeignNights, match=f"1 nights .* run\\s{stranger}"):
            work(stores, ONE)
    assert (keys(stores), count(stores, "batches")) == (before, 2)
    collect_garbage(stores, replace(ONE, strangers=True))
    assert manifest_key(stranger) not in keys(stores)
    assert count(stores, "batches") == 1


def test_splits_beyond_a_size_go_by_their_last_use_and_the_rest_stays(stores: Stores) -> None:
    night = plan_night(stores, range(1, 41))
    finish(stores, night)
    splits = {key: len(stores.bucket.get(key)) for key in keys(stores, "checkpoints/")}
    half = sum(splits.values()) // 2
    small = Retention(1, half, settled=0.0)
    shown = find_garbage(stores, small)
    assert [lot.kind for lot in shown] == ["checkpoints/"]
    assert collect_garbage(stores, small) == shown
    left = keys(stores, "checkpoints/")
    assert half - max(splits.values()) < sum(splits[key] for key in left) <= half
    assert dangling(stores) == []
    assert keys(stores, "images/") == pictures_of(stores, night.run)
    with stores.session() as session:
        assert len(ledger.stored_segments(session, night.run)) == len(night.plan.plan.segments)
    assert find_garbage(stores, small) == ()


@pytest.mark.parametrize("state", [RunState.PLANNED, RunState.RUNNING, RunState.FAILED])
def test_splits_that_a_night_may_still_need_stay_whatever_their_size(
    stores: Stores, state: RunState
) -> None:
    first = plan_night(stores, (1, 2, 3, 4))
    finish(stores, first)
    second = plan_night(stores, (1, 2, 3, 4), 1)
    with stores.session() as session:
        ledger.set_run_state(session, second.run, state)
    assert find_garbage(stores, Retention(1, 0, settled=0.0)) == ()
    with stores.session() as session:
        ledger.set_run_state(session, second.run, RunState.COMPLETED)
    gone = collect_garbage(stores, Retention(9, 0, settled=0.0))
    assert [lot.kind for lot in gone] == ["checkpoints/"]
    assert keys(stores, CHECKPOINTS.folder) == set()


def test_a_planned_night_finds_forgotten_splits_done_and_makes_none_of_them_again(
    stores: Stores,
) -> None:
    finish(stores, plan_night(stores, (1, 2, 3, 4)))
    collect_garbage(stores, Retention(1, 0, settled=0.0))
    again = plan_night(stores, (1, 2, 3, 4), 1)
    with stores.session() as session:
        assert len(ledger.stored_segments(session, again.run)) == len(again.plan.plan.segments)
        assert ledger.open_subtrees(session, again.run) == ()


def test_embeddings_go_with_the_last_plan_that_names_them(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
    with stores.session() as session:
        ledger.store_embeddings(
            session, {"embedding-of-nobody": ledger.StoredEmbedding(b"embedding")}
        )
    assert count(stores, "embeddings") == 6
    gone = {lot.kind: (lot.count, lot.bytes) for lot in collect_garbage(stores, ONE)}
    assert gone["embeddings"] == (2, 18)
    assert count(stores, "embeddings") == 4


def test_negative_prompts_keep_their_embeddings(stores: Stores) -> None:
    (night,) = make_nights(stores, (1, 2, 3, 4))
    with stores.session() as session:
        negative = ledger.StoredEmbedding(b"embedding")
        ledger.store_embeddings(session, {negative_key(night.plan.recipe): negative})
    assert find_garbage(stores, ONE) == ()


def test_a_night_that_another_has_replaced_stays_as_long_as_that_one(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4))
    with stores.session() as session:
        assert ledger.replace_night(session, "shop", date_of(0))
    finish(stores, plan_night(stores, (1, 2, 3, 5)))
    assert find_garbage(stores, ONE) == ()
    finish(stores, plan_night(stores, (1, 2, 3, 5), 1))
    gone = {lot.kind: lot.count for lot in collect_garbage(stores, ONE)}
    assert gone["batches"] == 2


def test_two_at_once_remove_it_once(stores: Stores) -> None:
    make_nights(stores, *[(day + 1, day + 2, day + 3, day + 4) for day in range(6)])
    expected = {lot.kind: lot.count for lot in find_garbage(stores, ONE)}
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: collect_garbage(stores, ONE), range(2)))
    rows = [kind for kind in expected if "/" not in kind]
    for kind in rows:
        assert sum(lot.count for lots in both for lot in lots if lot.kind == kind) == expected[kind]
    assert find_garbage(stores, ONE) == ()
    assert dangling(stores) == []


def test_a_checkpoint_that_is_named_by_a_kept_night_only_in_part_stays(stores: Stores) -> None:
    first, second = make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 4, 5))
    with stores.session() as session:
        named = set(
            session.execute(
                text(
                    "SELECT s.sha256 FROM segments s JOIN runs r ON r.id = s.run_id"
                    " WHERE s.run_id = :run AND s.stop < r.steps"
                ),
                {"run": second.run},
            ).scalars()
        )
    collect_garbage(stores, ONE)
    assert {checkpoint_key(each) for each in named} == keys(stores, "checkpoints/")
    assert first.run != second.run
