"""`hierdiff deliver` hands a night's pictures over as they are judged now."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from flows.cli import cli
from tasks.handover.pictures import gather
from tasks.handover.published import read_index
from tasks.ledger import NewVerdict, record_verdicts
from tasks.settings import Settings
from tasks.states import VerdictState
from tasks.stores import open_stores
from tests.tasks.gc.nights import make_nights
from tests.tasks.night_kit import environment


def test_it_hands_over_what_nobody_has_rejected_with_the_settings_of_this_shell(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings).items():
        if name.startswith("HIERDIFF_") and not name.startswith("HIERDIFF_OPTION"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("HIERDIFF_SOURCE_COLUMNS")
    monkeypatch.setenv("HIERDIFF_PUBLISH_NAMES", "true")
    monkeypatch.setenv("HIERDIFF_RENDITIONS", "jpeg")
    with open_stores(settings) as stores:
        (night,) = make_nights(stores, (1, 2, 3))
        (bad, *_) = gather(stores, settings, night.run)
        said = NewVerdict("SKU-1", 1, bad.files[0].sha256, VerdictState.REJECTED)
        with stores.session() as session:
            record_verdicts(session, "shop", [said])
        done = CliRunner().invoke(cli, ["deliver", "latest"])
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[0] == ("2 of 3 pictures; 1 rejected or not accepted yet")
        index = read_index(stores, "shop")
        assert [each["reference"] for each in index["pictures"]] == ["SKU-2", "SKU-3"]
        again = CliRunner().invoke(cli, ["deliver", str(night.run), "--json"])
        assert json.loads(again.output)["names"] == {
            "index": "published/shop/index.json",
            "pictures": 2,
            "copied": 0,
            "removed": 0,
        }
