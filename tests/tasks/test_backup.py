"""A backup that is taken while a night runs, restored elsewhere, is a night that goes on."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import SecretStr
from sqlalchemy import make_url

from flows.stack.postgres import find_binaries
from tasks.ledger import load_images, summarise
from tasks.settings import Settings
from tasks.storage import Bucket, connect_bucket
from tasks.stores import Stores, open_stores
from tasks.worker.attempt import Progress
from tasks.worker.denoise import denoise_shard
from tests.servers import S3Server, fresh_database, s3_settings
from tests.tasks.night_kit import SmallNight, plan_small_night, small, write_catalogue


@dataclass
class Backup:
    """Takes the backup of docs/install.md once, in the middle of a shard's work."""

    stores: Stores
    dump: Path
    bucket: Bucket  # of the copy
    taken: bool = False

    def take(self, progress: Progress) -> None:
        """Dump the ledger, then copy the bucket, while the writer goes on."""
        if self.taken or progress.evaluations < 4:
            return
        self.taken = True
        tool("pg_dump", "--format=custom", f"--file={self.dump}", plain(self.stores.engine.url))
        for key in list(self.stores.bucket.list()):
            self.bucket.put(key, self.stores.bucket.get(key))


def tool(name: str, *words: str) -> None:
    subprocess.run([find_binaries() / name, *words], check=True)


def plain(url: object) -> str:
    """Return a database's address as PostgreSQL's own programs read it."""
    whole = make_url(url).render_as_string(hide_password=False)  # type: ignore[arg-type]
    return whole.replace("postgresql+psycopg", "postgresql")


def pictures(night: SmallNight) -> dict[int, bytes]:
    with night.stores.session() as session:
        images = load_images(session, night.run)
    return {leaf: night.stores.bucket.get(each.key, each.sha256) for leaf, each in images.items()}


def test_a_backup_taken_mid_night_goes_on_elsewhere_to_the_same_pictures(
    settings: Settings, s3_server: S3Server, postgres_server: str, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    here = small(settings, lease_seconds=1.0)
    there = here.model_copy(update={"s3_bucket": s3_settings(s3_server).s3_bucket})
    with open_stores(here) as stores:
        night = plan_small_night(stores, here, write_catalogue(tmp_path))
        backup = Backup(stores, tmp_path / "ledger.dump", connect_bucket(there, create=True))
        denoise_shard(stores, here, night.run, 0, "here")
        denoise_shard(stores, here, night.run, 1, "here")
        for shard in (2, 3):
            denoise_shard(stores, here, night.run, shard, "here", report=backup.take)
        undisturbed = pictures(night)
    assert len(undisturbed) == 12
    with fresh_database(postgres_server) as url:
        tool("pg_restore", "--no-owner", f"--dbname={plain(url)}", str(backup.dump))
        there = there.model_copy(update={"database_url": SecretStr(url)})
        with open_stores(there) as stores:
            restored = SmallNight(stores, there, night.run)
            assert 0 < len(pictures(restored)) < 12
            for shard in (2, 3):
                denoise_shard(stores, there, night.run, shard, "elsewhere")
            assert pictures(restored) == undisturbed
            with stores.session() as session:
                facts = summarise(session, night.run)
            assert facts.evaluations_done < 1.5 * facts.evaluations_planned
            for key in list(stores.bucket.list()):
                stores.bucket.delete(key)
