"""A planned night on real servers, and copies of it that each start from the plan alone.

Knows the embedded PostgreSQL and S3, and that a database is copied whole. Knows nothing of what is
measured.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL, create_engine, make_url, text

from benchmarks.catalogue import make_texts
from benchmarks.lab import Lab
from flows.stack.standalone import standalone
from tasks import stages
from tasks.ledger import claim_night
from tasks.settings import Settings, read_settings
from tasks.storage import connect_bucket
from tasks.stores import open_stores

SHARD = 1  # the only one; 0 is the trunk, which is empty then
_DAY = date(2026, 11, 22)


@dataclass(frozen=True)
class PlannedNight:
    """A night that has a plan and nothing else."""

    settings: Settings
    url: URL  # of its database
    run: uuid.UUID

    @contextmanager
    def copy(self, name: str) -> Iterator[Settings]:
        """Yield settings that point to a copy of the night and to an empty bucket."""
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{self.url.database}"')
        url = self.url.set(database=name).render_as_string(hide_password=False)
        there = {"database_url": SecretStr(url), "s3_bucket": f"bucket-{name}"}
        settings = self.settings.model_copy(update=there)
        connect_bucket(settings, create=True)
        yield settings
        self._administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _administer(self, statement: str) -> None:
        # From another database, for nobody may be connected to the one that is copied.
        elsewhere = self.url.set(database="template1")
        engine = create_engine(elsewhere, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@contextmanager
def open_night(lab: Lab, prompts: int, **given: object) -> Iterator[PlannedNight]:
    """Run PostgreSQL and S3 for the block and plan a night of N prompts in one shard.

    `given` are settings. Everything is removed at the end.
    """
    with (
        # Where PostgreSQL's own user may enter, and near enough for a Unix socket's path.
        tempfile.TemporaryDirectory(prefix="hierdiff-bench-") as folder,
        standalone(Path(folder), stores_only=True, announce=lab.say) as stack,
    ):
        file = stack.home / "catalogue.tsv"
        file.write_text("\n".join(["prompt", *make_texts()[:prompts]]) + "\n")
        usual = {"device": lab.device, "shards": 1, "accept_loss": True, "sample": 0}
        settings = read_settings(home=stack.home, **usual | given)
        yield _plan(settings, file)


def _plan(settings: Settings, file: Path) -> PlannedNight:
    with open_stores(settings) as stores:
        with stores.session() as session:
            claimed = claim_night(session, "benchmark", _DAY)
        stages.ingest(stores, settings, claimed, stages.Source(file=file))
        stages.embed(stores, settings, claimed.batch, lambda done, total: None)
        run = stages.plan(stores, settings, claimed.batch)
        return PlannedNight(settings, make_url(stores.engine.url), run)
