"""Real servers for tests: PostgreSQL and S3, as the embedded stack starts them.

Knows how to get them ready and what to make on them. Their guard ends them even where the tests
are killed.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from flows.stack import object_store, postgres
from flows.stack.home import clean_environment, locked, prepare_home, read_credentials
from flows.stack.services import Guard, Service, listens, started_on_free_port
from tasks.database import migrate
from tasks.settings import Settings

PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Place:
    """A folder for servers, and the guard that ends them with it."""

    home: Path
    guard: Guard


@dataclass(frozen=True)
class S3Server:
    """Where an S3 server answers, and to whom."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)


@contextmanager
def open_place(home: Path) -> Iterator[Place]:
    """Hold a folder for servers; all of them end with the block."""
    home = prepare_home(home)
    with locked(home) as lock:
        guard = Guard(home, lock)
        try:
            yield Place(home, guard)
        finally:
            guard.close()


@contextmanager
def run_postgres(place: Place) -> Iterator[str]:
    """Run PostgreSQL for the block; yields the URL of its own database."""
    cluster = postgres.prepare(place.home / "postgres", place.home / "logs" / "postgres.log")
    service = _service(
        place, "postgres", cluster.command, {"LC_ALL": "C"}, lambda _: cluster.answers()
    )
    service.stop_signal, service.user = signal.SIGINT, cluster.user
    service.start()
    service.await_ready(PATIENCE)
    yield cluster.url
    service.stop()


@contextmanager
def run_s3(place: Place) -> Iterator[S3Server]:
    """Run an S3 server for the block."""
    account = read_credentials(place.home)
    environment = object_store.s3_environment(account)

    def on_port(port: int) -> Service:
        ports.append(port)
        command = object_store.s3_command(place.home / "s3", port)
        return _service(place, "s3", command, environment, lambda s3: listens(s3, port))

    ports: list[int] = []
    service = started_on_free_port(on_port, PATIENCE, lambda: False)
    yield S3Server(f"http://127.0.0.1:{ports[-1]}", account.access_key, account.secret_key)
    service.stop()


def make_template(server: str) -> str:
    """Make a database with all tables, to be copied; return its name."""
    name = fresh_name()
    administer(server, f'CREATE DATABASE "{name}"')
    migrate(at(server, name))
    return name


@contextmanager
def fresh_database(server: str, template: str = "template0") -> Iterator[str]:
    """Make a copy of a database for the block; yields its URL."""
    name = fresh_name()
    administer(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield at(server, name)
    administer(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def s3_settings(server: S3Server, *, name: str = "") -> Settings:
    """Return settings that point to a bucket of the S3 server, by default one of a fresh name."""
    return Settings(
        s3_endpoint_url=server.endpoint,
        s3_bucket=name or fresh_name(),
        s3_access_key=server.access_key,  # type: ignore[arg-type]
        s3_secret_key=server.secret_key,  # type: ignore[arg-type]
    )


def fresh_name() -> str:
    """Return a name that no other test has."""
    return f"test-{secrets.token_hex(6)}"


def at(server: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def administer(server: str, statement: str) -> None:
    """Run a statement that no transaction may hold."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _service(
    place: Place,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    ready: Callable[[Service], bool],
) -> Service:
    return Service(
        name=name,
        command=command,
        environment={**clean_environment(place.home), **environment},
        log=place.home / "logs" / f"{name}.log",
        guard=place.guard,
        ready=ready,
    )
