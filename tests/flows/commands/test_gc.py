"""`hierdiff gc` and `forget` show first, remove when told to, and say the same in both."""

from __future__ import annotations

import json

import pytest

from tasks import ledger
from tasks.gc import retention
from tasks.settings import Settings
from tasks.stores import open_stores
from tests.flows.test_cli import hierdiff, refused
from tests.tasks.gc.nights import count, keys, make_nights
from tests.tasks.night_kit import environment

pytestmark = pytest.mark.slow


def test_it_shows_what_would_go_and_removes_it_with_yes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SETTLED", 0.0)
    told = environment(settings)
    with open_stores(settings) as stores:
        assert "there is nothing to remove" in hierdiff(told, "gc").stdout
        make_nights(stores, (1, 2, 3, 4), (1, 2, 3, 5))
        assert "there is nothing to remove" in hierdiff(told, "gc", "--yes").stdout
        shown = hierdiff(told, "gc", "--keep-nights", "1")
        assert shown.returncode == 0, shown.stderr
        assert "kept: the last 1 completed nights of each catalogue\n" in shown.stdout
        assert [line.split()[:2] for line in shown.stdout.splitlines() if "batches" in line] == [
            ["batches", "1"]
        ]
        assert "say --yes to remove it" in shown.stdout
        assert count(stores, "batches") == 2
        told["HIERDIFF_KEEP_NIGHTS"] = "1"
        listed = json.loads(hierdiff(told, "gc", "--json").stdout)
        gone = json.loads(hierdiff(told, "gc", "--yes", "--json").stdout)
        assert (listed["removed"], gone["removed"]) == (False, True)
        assert gone["lots"] == listed["lots"]
        assert count(stores, "batches") == 1
        stores.bucket.put("manifests/" + "0" * 8 + "-0000" * 3 + "-" + "0" * 12 + ".json", b"{}")
        before = keys(stores)
        assert "--unknown-nights" in refused(told, "gc", "--yes")
        assert keys(stores) == before
        assert "manifests/  " in hierdiff(told, "gc", "--yes", "--unknown-nights").stdout
        with stores.session() as session:
            assert len(ledger.list_runs(session)) == 1
    assert "HIERDIFF_KEEP_NIGHTS is 0" in refused(told, "gc", "--keep-nights", "0")


def test_a_row_is_forgotten_with_yes_and_what_remains_is_said(settings: Settings) -> None:
    told = environment(settings)
    with open_stores(settings) as stores:
        make_nights(stores, (1, 2, 3, 4))
        shown = hierdiff(told, "forget", "SKU-2")
        assert shown.returncode == 0, shown.stderr
        assert "would be erased:\n  rows          1: SKU-2 of shop 2026-11-22" in shown.stdout
        assert "say --yes to erase it" in shown.stdout
        assert count(stores, "prompts") == 4
        done = hierdiff(told, "forget", "SKU-2", "--yes")
        assert "0 removed, 1 written anew; 1 manifests written anew" in done.stdout
        assert "digests (SHA-256) of its prompt in the plans of 1 nights" in done.stdout
        assert "backups" in done.stdout
        assert count(stores, "prompts") == 3
        listed = json.loads(hierdiff(told, "forget", "--prompt", "mug 1", "--json").stdout)
        assert (listed["erased"], listed["rows"], listed["pictures"]) == (False, 1, 1)
    assert "No night has a row 'SKU-2'" in refused(told, "forget", "SKU-2", "--yes")
