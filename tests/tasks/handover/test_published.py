"""Published names switch at once, and tables say what a night's manifest says."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import text

from tasks import ledger
from tasks.forget import Asked, forget_rows
from tasks.handover.pictures import HandedPicture, gather, wanted
from tasks.handover.published import Named, index_key, publish_names, read_index
from tasks.ledger import NewVerdict, record_verdicts
from tasks.renditions import make_renditions
from tasks.report.check import is_published
from tasks.report.publish import write_manifest
from tasks.settings import Settings
from tasks.states import VerdictState
from tasks.storage import Bucket
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import StoredNight, finish, keys, make_nights, plan_night


@pytest.fixture
def asked(settings: Settings) -> Settings:
    given = {"renditions": "webp", "public_url": "https://pictures.example.com"}
    return settings.model_copy(update=given)


@pytest.fixture
def stores(asked: Settings) -> Iterator[Stores]:
    with open_stores(asked) as opened:
        yield opened


def handed(stores: Stores, asked: Settings, night: StoredNight) -> tuple[HandedPicture, ...]:
    make_renditions(stores, asked, night.run)
    return gather(stores, asked, night.run)


def name_all(stores: Stores, asked: Settings, night: StoredNight) -> Named:
    pictures = wanted(handed(stores, asked, night), asked)
    return publish_names(stores, asked, "shop", night.run, pictures)


def files(stores: Stores, which: str = "pictures") -> set[str]:
    entries = read_index(stores, "shop")[which]
    return {file["object"] for each in entries for file in each["files"]}


def say(stores: Stores, reference: str, sha256: str, verdict: VerdictState) -> None:
    with stores.session() as session:
        record_verdicts(session, "shop", [NewVerdict(reference, 1, sha256, verdict)])


def die_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Have the process die at a later call that changes the bucket."""
    put, delete, done = Bucket.put, Bucket.delete_all, itertools.count()

    def stores(self: Bucket, key: str, body: bytes, content_type: str = "") -> str:
        if next(done) >= calls:
            raise KeyboardInterrupt
        return put(self, key, body, content_type)

    def removes(self: Bucket, gone: Sequence[str]) -> None:
        if next(done) >= calls:
            raise KeyboardInterrupt
        delete(self, gone)

    patch.setattr(Bucket, "put", stores)
    patch.setattr(Bucket, "delete_all", removes)


def test_tables_say_each_file_of_each_row(stores: Stores, asked: Settings) -> None:
    (night,) = make_nights(stores, (1, 2, 4))
    pictures = handed(stores, asked, night)
    say(stores, "SKU-2", pictures[1].files[0].sha256, VerdictState.REJECTED)
    manifest = write_manifest(stores, asked, night.run)
    body = json.loads(stores.bucket.get(f"manifests/{night.run}.json", manifest))
    tables = {each["key"].rpartition(".")[2]: each for each in body["tables"]}
    raw = {end: stores.bucket.get(each["key"], each["sha256"]) for end, each in tables.items()}
    rows = list(csv.DictReader(io.StringIO(raw["csv"].decode(), newline="")))
    lines = [json.loads(line) for line in raw["jsonl"].decode().splitlines()]
    assert [{name: str(value) for name, value in line.items()} for line in lines] == rows
    assert [(each["reference"], each["rendition"]) for each in lines] == [
        (reference, rendition)
        for reference in ("SKU-1", "SKU-2", "SKU-4")
        for rendition in ("", "webp")
    ]
    assert [each["verdict"] for each in lines] == ["", "", "rejected", "rejected", "", ""]
    for line in lines:
        stored = stores.bucket.get(str(line["object"]), str(line["sha256"]))
        assert len(stored) == line["bytes"]
        assert str(line["url"]).startswith("https://pictures.example.com/")
        assert (line["run"], line["revision"], line["seed"]) == (str(night.run), "1", 0)


def test_a_row_says_whether_its_picture_was_made_or_kept(stores: Stores, asked: Settings) -> None:
    (night,) = make_nights(stores, (1, 2, 3))
    with stores.session() as session:
        leaf = night.plan.plan.leaf_segment(0).id
        session.execute(
            text("UPDATE segments SET reused = true WHERE run_id = :run AND segment = :leaf"),
            {"run": night.run, "leaf": leaf},
        )
    assert sorted(each.made for each in gather(stores, asked, night.run)) == [
        "kept",
        "made",
        "made",
    ]


def test_a_damaged_table_is_noticed(stores: Stores, asked: Settings) -> None:
    (night,) = make_nights(stores, (1, 2))
    manifest = write_manifest(stores, asked, night.run)
    report = stores.bucket.put(f"reports/{night.run}/index.html", b"a report")
    with stores.session() as session:
        ledger.note_published(session, night.run, manifest, report)
    assert is_published(stores, night.run)
    stores.bucket.put(f"manifests/{night.run}.csv", b"reference\n")
    assert not is_published(stores, night.run)


def test_names_follow_the_night_and_the_index_says_which_hold(
    stores: Stores, asked: Settings
) -> None:
    first, second, third = make_nights(stores, (1, 2, 3), (1, 2, 4), (1, 5))
    assert name_all(stores, asked, first).copied == 3
    old = files(stores)
    again = name_all(stores, asked, first)
    assert (again.copied, again.removed, files(stores)) == (0, 0, old)
    name_all(stores, asked, second)
    new = files(stores)
    assert new != old
    assert files(stores, "previous") == old
    assert keys(stores, "published/") == {index_key("shop")} | old | new
    name_all(stores, asked, third)
    assert keys(stores, "published/") == {index_key("shop")} | new | files(stores)
    for each in read_index(stores, "shop")["pictures"]:
        for file in each["files"]:
            stores.bucket.get(file["object"], file["sha256"])
            assert file["url"] == f"https://pictures.example.com/{file['object']}"


def test_readers_see_one_night_or_the_next_wherever_it_is_killed(
    stores: Stores, asked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_nights(stores, (1, 2, 3), (4, 5, 6))
    name_all(stores, asked, first)
    old = read_index(stores, "shop")
    pictures = handed(stores, asked, second)
    for last in range(5):
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            die_after(patch, last)
            publish_names(stores, asked, "shop", second.run, pictures)
        index, there = read_index(stores, "shop"), keys(stores, "published/")
        assert index == old or index["run"] == str(second.run)
        assert files(stores) <= there
        if index != old:
            assert files(stores, "previous") <= there
    publish_names(stores, asked, "shop", second.run, pictures)
    assert read_index(stores, "shop")["run"] == str(second.run)


def test_what_is_rejected_is_not_handed_over_and_one_may_ask_for_accepted_ones_alone(
    stores: Stores, asked: Settings
) -> None:
    night = plan_night(stores, (1, 2, 3))
    finish(stores, night)
    pictures = gather(stores, asked, night.run)
    say(stores, "SKU-1", pictures[0].files[0].sha256, VerdictState.REJECTED)
    say(stores, "SKU-2", pictures[1].files[0].sha256, VerdictState.ACCEPTED)
    said = gather(stores, asked, night.run)
    assert [each.reference for each in wanted(said, asked)] == ["SKU-2", "SKU-3"]
    strict = asked.model_copy(update={"hand_over": "accepted"})
    assert [each.reference for each in wanted(said, strict)] == ["SKU-2"]


def test_a_forgotten_row_leaves_the_names_the_index_and_the_tables(
    stores: Stores, asked: Settings
) -> None:
    first, second = make_nights(stores, (1, 2, 3), (1, 2, 4))
    name_all(stores, asked, first)
    name_all(stores, asked, second)
    forget_rows(stores, asked, Asked("SKU-2"))
    for key in keys(stores, "published/") | keys(stores, "manifests/"):
        assert "SKU-2" not in key
        if not key.endswith(".webp"):
            assert b"SKU-2" not in stores.bucket.get(key), key
    assert files(stores) | files(stores, "previous") | {index_key("shop")} == keys(
        stores, "published/"
    )
