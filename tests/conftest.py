"""One PostgreSQL and one S3 server for each worker, fresh contents for each test, nothing left.

What the servers need is imported when they are, so that tests of the core run without it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tasks.settings import Settings
    from tasks.storage import Bucket
    from tests.servers import Place, S3Server

# As the command line does before it imports the library, which reads it once for a process.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@pytest.fixture(scope="session")
def server_place() -> Iterator[Place]:
    """The folder of this worker's servers."""
    from tests.servers import open_place

    # Beside pytest's own folder: for root PostgreSQL runs as another user, who must get in, and a
    # Unix socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="hierdiff-test-"))
    with open_place(home) as place:
        yield place
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(server_place: Place) -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as this worker."""
    from tests.servers import run_postgres

    with run_postgres(server_place) as url:
        yield url


@pytest.fixture(scope="session")
def template(postgres_server: str) -> str:
    """The name of a database with all tables, to be copied."""
    from tests.servers import make_template

    return make_template(postgres_server)


@pytest.fixture(scope="session")
def s3_server(server_place: Place) -> Iterator[S3Server]:
    """An S3 server that lives as long as this worker."""
    from tests.servers import run_s3

    with run_s3(server_place) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh and empty database."""
    from tests.servers import fresh_database

    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def database(postgres_server: str, template: str) -> Iterator[Engine]:
    """An engine on a fresh database with all tables."""
    from tasks.database import open_engine
    from tests.servers import fresh_database

    with fresh_database(postgres_server, template) as url:
        engine = open_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    """A fresh bucket."""
    from botocore.exceptions import ClientError

    from tasks.storage import connect_bucket
    from tests.servers import s3_settings

    fresh = connect_bucket(s3_settings(s3_server), create=True)
    yield fresh
    for key in list(fresh.list()):
        fresh.delete(key)
    assert not list(fresh.list()), "something still writes into the bucket of a test that has ended"
    with suppress(ClientError):  # rclone may leave an emptied folder; it goes with the server
        fresh.client.delete_bucket(Bucket=fresh.name)


@pytest.fixture
def settings(tmp_path: Path, database: Engine, s3_server: S3Server, bucket: Bucket) -> Settings:
    """Settings that point to a fresh database with all tables and a fresh bucket."""
    from tasks.settings import Settings
    from tests.servers import s3_settings

    url = database.url.render_as_string(hide_password=False)
    given = s3_settings(s3_server, name=bucket.name).model_dump()
    # Nights are sampled where that is what is tested.
    return Settings(**{**given, "home": tmp_path / "home", "database_url": url, "sample": 0})
