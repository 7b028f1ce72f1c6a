"""A forgotten row leaves every table and every object; other rows keep what is theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text

from hierdiff_core.prompt import content_key
from tasks import ledger
from tasks.errors import LeaseHeld, NightTaken, UnknownRow
from tasks.forget import Asked, find_traces, forget_rows
from tasks.gc.collect import collect_garbage
from tasks.gc.retention import Retention
from tasks.object_keys import checkpoint_key, picture_key, plain_key
from tasks.rejected import Rejected
from tasks.settings import Settings
from tasks.states import RunState, VerdictState
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import (
    count,
    dangling,
    date_of,
    finish,
    keys,
    make_nights,
    plan_night,
)

ROW = Asked("SKU-2")


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        yield opened


def words_in_ledger(stores: Stores, word: str) -> list[str]:
    """Return the tables that hold a word in any column."""
    found = []
    with stores.session() as session:
        for table in session.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).scalars():
            statement = f'SELECT count(*) FROM "{table}" t WHERE strpos(t::text, :word) > 0'
            if session.execute(text(statement), {"word": word}).scalar_one():
                found.append(table)
    return found


def pair_row(stores: Stores, run: UUID, key: str) -> str:
    """Store a picture without sharing beside that of a row; return the key of its object."""
    body = b"made without sharing"
    sha256 = hashlib.sha256(body).hexdigest()
    stores.bucket.put(plain_key(sha256), body)
    with stores.session() as session:
        leaf = [each.content_key for each in ledger.load_plan(session, run).leaves].index(key)
        picture = ledger.load_images(session, run)[leaf].sha256
        ledger.record_pairs(session, run, [ledger.StoredPair(leaf, picture, sha256, 20, 8)])
    return plain_key(sha256)


def test_what_would_be_erased_is_shown_and_nothing_changes(stores: Stores) -> None:
    make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
    before = (keys(stores), count(stores, "prompts"), count(stores, "images"))
    shown = find_traces(stores, ROW)
    assert [row.reference for row in shown.rows] == ["SKU-2", "SKU-2"]
    assert (len(shown.pictures), len(shown.embeddings)) == (1, 1)
    assert shown.splits
    assert before == (keys(stores), count(stores, "prompts"), count(stores, "images"))


def test_a_forgotten_row_is_in_no_table_and_its_objects_are_gone(
    stores: Stores, settings: Settings
) -> None:
    nights = make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
    with stores.session() as session:
        remade = [replace(nights[0].prompts[1], remade_seed=7)]
        ledger.note_remakes(session, ledger.claim_night(session, "shop", date_of(0)).batch, remade)
        said = ledger.NewVerdict("SKU-2", 1, "a" * 64, VerdictState.REJECTED, "not a mug 2")
        ledger.record_verdicts(session, "shop", [said])
    plain = pair_row(stores, nights[0].run, content_key(nights[0].prompts[1]))
    shown = find_traces(stores, ROW)
    erased, results = forget_rows(stores, settings, ROW)
    assert erased == shown
    for word in ("SKU-2", "mug 2"):
        assert words_in_ledger(stores, word) == []
    gone = {picture_key(each) for each in erased.pictures}
    gone |= {checkpoint_key(each) for each in erased.splits} | {plain}
    assert not gone & keys(stores)
    assert dangling(stores) == []
    key = content_key(nights[0].prompts[1])
    with stores.session() as session:
        stored = session.execute(
            text("SELECT content FROM embeddings WHERE key = :key"), {"key": f"embedding-{key}"}
        ).scalar_one()
        facts = [ledger.summarise(session, night.run) for night in nights]
    assert bytes(stored) == b""
    assert [(each.images, each.images_expected) for each in facts] == [(3, 3), (3, 3)]
    assert (results.manifests, results.reports, results.removed) == (2, 1, 1)
    for night in nights:
        manifest = stores.bucket.get(f"manifests/{night.run}.json").decode()
        assert "mug 1" in manifest
        assert "mug 2" not in manifest
        assert "SKU-2" not in manifest
    report = stores.bucket.get(f"reports/{nights[1].run}/index.html").decode()
    assert "SKU-1" in report
    assert "SKU-2" not in report
    assert f"reports/{nights[0].run}/index.html" not in keys(stores)
    with pytest.raises(UnknownRow, match="SKU-2"):
        forget_rows(stores, settings, ROW)


def test_the_plan_of_a_night_keeps_its_keys_and_counts_nothing_as_missing(
    stores: Stores, settings: Settings
) -> None:
    (night,) = make_nights(stores, (1, 2, 3, 4))
    forget_rows(stores, settings, ROW)
    with stores.session() as session:
        plan = ledger.load_plan(session, night.run)
        assert ledger.open_subtrees(session, night.run) == ()
    assert (plan.keys, plan.leaves, plan.plan) == (
        night.plan.keys,
        night.plan.leaves,
        night.plan.plan,
    )
    again = plan_night(stores, (1, 3, 4), 1)
    assert len(again.plan.leaves) == 3


def test_rows_with_the_same_prompt_keep_their_picture_until_the_prompt_is_named(
    stores: Stores, settings: Settings
) -> None:
    make_nights(stores, (1, 2, 3, 4))
    finish(stores, plan_night(stores, (1, 2, 7), 0, "outlet"))
    pictures = keys(stores, "images/")
    erased, _ = forget_rows(stores, settings, Asked("SKU-2", catalogue="shop"))
    assert len(erased.others) == 1
    assert "SKU-2 of outlet" in erased.others[0]
    assert not erased.embeddings
    assert keys(stores, "images/") == pictures
    assert dangling(stores) == []
    forget_rows(stores, settings, Asked(prompt="mug 2 "))
    assert words_in_ledger(stores, "mug 2") == []
    assert len(keys(stores, "images/")) == len(pictures) - 1


def test_a_row_of_a_night_that_runs_now_is_refused(stores: Stores, settings: Settings) -> None:
    (night,) = make_nights(stores, (1, 2, 3, 4))
    with stores.session() as session:
        lease = ledger.take_night(
            session, ledger.claim_night(session, "shop", date_of(0)), "somebody", 60.0
        )
    with pytest.raises(NightTaken, match="is being run by somebody"):
        forget_rows(stores, settings, ROW)
    with stores.session() as session:
        ledger.release_night(session, lease)
        ledger.take_lease(session, night.run, 1, "worker", 60.0)
    with pytest.raises(LeaseHeld, match="is being run by worker"):
        forget_rows(stores, settings, ROW)
    assert count(stores, "prompts") == 4


def test_an_unfinished_night_loses_its_plan_and_is_planned_without_the_row(
    stores: Stores, settings: Settings
) -> None:
    night = plan_night(stores, (1, 2, 3, 4))
    finish(stores, night, RunState.FAILED)
    erased, _ = forget_rows(stores, settings, ROW)
    assert erased.open_runs == {night.run}
    with stores.session() as session:
        claimed = ledger.claim_night(session, "shop", date_of(0))
        assert claimed.run is None
        assert [each.reference for each in ledger.load_prompts(session, claimed.batch)] == [
            "SKU-1",
            "SKU-3",
            "SKU-4",
        ]


def test_rejected_rows_that_name_it_go_and_those_that_only_look_alike_stay(
    stores: Stores, settings: Settings
) -> None:
    with stores.session() as session:
        night = ledger.claim_night(session, "shop", date_of(0))
        reasons = ("Row 1 (SKU-2): it is empty.", "Row 2 (SKU-22): it is empty.")
        rejected = [Rejected(row, reason) for row, reason in enumerate(reasons, 1)]
        ledger.store_prompts(session, night.batch, [], rejected)
    forget_rows(stores, settings, ROW)
    with stores.session() as session:
        assert [each.row for each in ledger.load_rejected(session, night.batch)] == [2]


def test_an_interrupted_start_is_finished_by_the_next(
    stores: Stores, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
    from tasks import forget

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forget, "_remove_objects", killed)
        with pytest.raises(KeyboardInterrupt):
            forget_rows(stores, settings, ROW)
    assert len(find_traces(stores, ROW).rows) == 2
    erased, _ = forget_rows(stores, settings, ROW)
    assert not {picture_key(each) for each in erased.pictures} & keys(stores)
    assert words_in_ledger(stores, "SKU-2") == []
    collect_garbage(stores, Retention(9, settled=0.0))
    assert dangling(stores) == []
