"""What is secret in the settings is nowhere but in the environment, after nights that fail."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import SecretStr
from sqlalchemy import make_url

from hierdiff_core.errors import HierdiffError
from tasks.handover.deliver import deliver
from tasks.report.publish import publish
from tasks.settings import Settings
from tasks.stages import Source, read_rows
from tasks.stores import Stores, open_stores
from tasks.worker.denoise import denoise_shard
from tests import leaks
from tests.tasks.night_kit import plan_small_night, small, write_catalogue

# Planted: each is a password or a token.
SECRETS = {
    "ledger": "ledger-7c21e0",
    "source": "source-4f1c9b",
    "shop": "shop-9a7e33",
    "hub": "hf_2b8d6c1e9057",
}


@pytest.fixture
def planted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a machine whose secrets are known."""
    monkeypatch.setenv("HF_TOKEN", SECRETS["hub"])
    assert settings.database_url is not None
    url = make_url(settings.database_url.get_secret_value())
    others = {"source_url": "source", "result_url": "shop"}  # nobody has an account by that name
    secret = {
        name: SecretStr(f"postgresql://{role}:{SECRETS[role]}@/nowhere?host={url.query['host']}")
        for name, role in others.items()
    }
    ledger = url.set(password=SECRETS["ledger"]).render_as_string(hide_password=False)
    return small(
        settings,
        planner="paper",
        shards=1,
        steps=3,
        saving=0.3,
        database_url=SecretStr(ledger),
        patience_seconds=0.0,
        public_url="https://pictures.example",
        result_query="UPDATE shoes SET image = :url WHERE sku = :reference",
        **secret,
    )


def test_no_secret_is_in_logs_errors_parameters_ledger_report_or_objects_of_nights_that_fail(
    planted: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.set_num_threads(1)
    caplog.set_level(logging.INFO)
    assert planted.s3_secret_key is not None
    secrets = SECRETS | {"bucket": planted.s3_secret_key.get_secret_value()}
    file = write_catalogue(tmp_path, [("red", "mug"), ("blue", "clock")])
    with open_stores(planted) as stores:
        night = plan_small_night(stores, planted, file)
        for shard in (0, 1):
            denoise_shard(stores, planted, night.run, shard, "worker")
        publish(stores, planted, night.run)
        texts = {
            "an unread source": failure(lambda: read_rows(planted, Source("SELECT 1 AS prompt"))),
            "an untold shop": failure(lambda: deliver(stores, planted, night.run)),
            "an unknown ledger": failure(lambda: open_unknown(planted)),
            "logs": caplog.text,
            "parameters": planted.night.model_dump_json(),
            "repr": f"{planted!r} {stores!r} {night!r}",
        }
        found = leaks.in_tables(plain(planted), secrets) | leaks.in_objects(stores.bucket, secrets)
        assert leaks.in_objects(stores.bucket, {"mug": "red mug"})  # it would be found
        assert leaks.in_tables(plain(planted), {"mug": "red mug"})
    for place, text in texts.items():
        found |= leaks.in_text(place, text.encode(), secrets)
    assert not found


def failure(fail: Callable[[], object]) -> str:
    """Return an error as a log has it: of an account that the server does not know."""
    with pytest.raises(HierdiffError, match="does not exist") as failed:
        fail()
    return "".join(traceback.format_exception(failed.value))


def open_unknown(planted: Settings) -> Stores:
    with open_stores(planted.model_copy(update={"database_url": planted.source_url})) as stores:
        return stores


def plain(settings: Settings) -> str:
    """Return the ledger's address as PostgreSQL's own programs read it."""
    assert settings.database_url is not None
    return settings.database_url.get_secret_value().replace("+psycopg", "")
