"""The ledger's database: connections, transactions and migrations.

Statements and errors never show a password or a parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from hierdiff_core.errors import InvalidSetting
from tasks.errors import (
    ForbiddenDatabase,
    NewerSchema,
    NoStack,
    OutdatedSchema,
    RefusedByDatabase,
    UnreachableDatabase,
)
from tasks.patience import AT_ONCE, Patience
from tasks.settings import Settings

# Two migrations at once take turns on this number; it means nothing but must never change.
_MIGRATION_LOCK = 0x68696572

_CONNECT = 8  # seconds in which a server answers, or is not there
# A line that is cut without a word is noticed within a minute, where the system would take hours;
# a server that only takes its time is waited for.
_LINE = {
    "keepalives_idle": 20,  # seconds
    "keepalives_interval": 10,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
# A refusal to connect has no code, only words; where a server speaks others it counts as away.
_REFUSALS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "invalid response to SSL negotiation",
    "does not support SSL",
)
_FORBIDDEN = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)


def connect(settings: Settings) -> Engine:
    """Return an engine on the ledger's database, tried once.

    Raises NoStack where no database is set, InvalidSetting, UnreachableDatabase, RefusedByDatabase.
    """
    if settings.database_url is None:
        raise NoStack(home=settings.home)
    engine = open_engine(settings.database_url.get_secret_value())
    with reaching(engine.url), engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return engine


def open_engine(url: str) -> Engine:
    """Return an engine on a PostgreSQL URL, not yet tried; raises InvalidSetting."""
    return create_engine(
        _postgres_url(url),
        # Of a hundred workers: their threads seldom meet here, and what they open beyond the one
        # that stays is closed again.
        pool_size=1,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,  # prompts and embeddings stay out of logs
        connect_args={"connect_timeout": _CONNECT, "application_name": "hierdiff", **_LINE},
    )


@contextmanager
def session_scope(engine: Engine, patience: Patience = AT_ONCE) -> Iterator[Session]:
    """Yield a session in one transaction: committed at the end, rolled back on any error.

    Raises UnreachableDatabase where the connection fails, and StillAway where no patience helps.
    """

    def begin() -> Connection:
        with reaching(engine.url):
            return engine.connect()

    with (
        patience.outlast(begin) as connection,
        reaching(engine.url),
        Session(connection, expire_on_commit=False) as session,
        session.begin(),
    ):
        yield session


def migrate(url: str, revision: str = "") -> str:
    """Bring the database's tables to this version, or back to a `revision`, all or nothing.

    Two at once take turns. Returns the revision that the tables are at. Raises InvalidSetting,
    UnreachableDatabase, ForbiddenDatabase, NewerSchema.
    """
    engine = open_engine(url)
    try:
        with reaching(engine.url), engine.begin() as connection:
            take_turns(connection)
            _refuse_newer(connection)
            config = migration_config(connection)
            if revision:
                command.downgrade(config, _known_revision(revision))
            else:
                command.upgrade(config, "head")
            return _revision(connection) or "nothing"
    finally:
        engine.dispose()


def take_turns(connection: Connection) -> None:
    """Wait for another migration of this database, until the transaction ends."""
    lock = text("SELECT pg_advisory_xact_lock(:number)")
    connection.execute(lock, {"number": _MIGRATION_LOCK})


def check_schema(engine: Engine) -> None:
    """Raise OutdatedSchema or NewerSchema unless the tables are those of this version."""
    wanted = _scripts().get_current_head()
    with reaching(engine.url), engine.connect() as connection:
        _refuse_newer(connection)
        found = _revision(connection)
    if found != wanted:
        raise OutdatedSchema(url=safe_url(engine.url), found=found or "no version", wanted=wanted)


def _refuse_newer(connection: Connection) -> None:
    found = _revision(connection)
    known = {script.revision for script in _scripts().walk_revisions()}
    if found is not None and found not in known:
        wanted = _scripts().get_current_head()
        raise NewerSchema(url=safe_url(connection.engine.url), found=found, wanted=wanted)


def _known_revision(revision: str) -> str:
    known = sorted(script.revision for script in _scripts().walk_revisions())
    if revision not in known:
        hint = f"use one of {', '.join(known)}"
        raise InvalidSetting(setting="--down", value=revision, hint=hint)
    return revision


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(migration_config())


def migration_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration on an open connection, from a clone or an installation."""
    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.attributes["connection"] = connection
    return config


@contextmanager
def reaching(url: URL) -> Iterator[None]:
    """Turn a failed connection into UnreachableDatabase, missing rights into ForbiddenDatabase.

    RefusedByDatabase is that of a server that will not answer otherwise later.
    """
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, _FORBIDDEN):
            raise ForbiddenDatabase(url=safe_url(url), reason=reason(error, url)) from None
        if not (error.connection_invalidated or error.statement is None):
            raise
        if any(words in str(error.orig) for words in _REFUSALS):
            raise RefusedByDatabase(url=safe_url(url), reason=reason(error, url)) from None
        raise UnreachableDatabase(url=safe_url(url), reason=reason(error, url)) from None


def safe_url(url: URL) -> str:
    """Return a URL without its secrets: the password, and all of its query but the host and port,
    since a query may hold a password too."""
    hosts = {name: url.query[name] for name in ("host", "port") if name in url.query}
    return url.set(query=hosts).render_as_string(hide_password=True)


def reason(error: DBAPIError, url: URL) -> str:
    """Return the first line of the driver's message, without any password of the URL."""
    line = " ".join(str(error.orig).splitlines()[:1]) or type(error.orig).__name__
    for secret in (url.password, *(url.query.get(name) for name in ("password", "passwd", "pwd"))):
        line = line.replace(str(secret), "***") if secret else line
    return line


def with_driver(url: URL) -> URL:
    """Return a PostgreSQL URL with the driver that is installed, any other URL as it is."""
    postgres = url.drivername in ("postgres", "postgresql")
    return url.set(drivername="postgresql+psycopg") if postgres else url


def _postgres_url(url: str) -> URL:
    try:
        parsed = with_driver(make_url(url))
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername != "postgresql+psycopg":
        hint = "write it as postgresql://user:password@host/name"
        raise InvalidSetting(setting="HIERDIFF_DATABASE_URL", value="***", hint=hint)
    return parsed
