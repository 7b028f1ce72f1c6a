"""The user's own database: a query's rows, streamed and read-only.

A password in an address never shows.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from hierdiff_core.errors import InvalidSetting
from tasks.database import reason, safe_url, with_driver
from tasks.errors import FailedQuery, UnreachableSource
from tasks.source.limits import Allowance, Limits
from tasks.source.source_row import SourceRow

_CHUNK = 1000  # rows asked for at once
_CONNECT = 8  # seconds in which a database answers, or is not there
_GRACE = 2.0  # seconds that a database has to end a statement by itself


def read_query(url: str, query: str, limits: Limits | None = None) -> Iterator[SourceRow]:
    """Yield the rows of a query on any SQLAlchemy URL, streamed and read-only.

    Raises InvalidSetting, UnreachableSource, and FailedQuery, also for one that takes too long.
    """
    limits = limits or Limits()
    engine, allowance = open_database(url), Allowance(limits)
    try:
        with _asking(engine.url, UnreachableSource, allowance):
            connection = engine.connect()
        with connection:
            yield from _rows(connection, query, limits, allowance)
    finally:
        engine.dispose()


def _rows(
    connection: Connection, query: str, limits: Limits, allowance: Allowance
) -> Iterator[SourceRow]:
    url, number = connection.engine.url, 0
    # The query is the user's own text: its % and : are not ours to interpret.
    options = {"stream_results": True, "yield_per": _CHUNK, "no_parameters": True}
    with _asking(url, FailedQuery, allowance, connection):
        _prepare(connection, limits.seconds, allowance)
        result = connection.execution_options(**options).exec_driver_sql(query)
    with result:
        if not result.returns_rows:
            raise FailedQuery(url=safe_url(url), reason="it returns no rows; use a SELECT")
        names = tuple(result.keys())
        repeated = frozenset(name for name, count in Counter(names).items() if count > 1)
        while True:
            with _asking(url, FailedQuery, allowance, connection):
                rows = result.fetchmany(_CHUNK)
            if not rows:
                return
            for number, row in enumerate(rows, start=number + 1):  # noqa: B020 (counts on)
                yield SourceRow(number, dict(zip(names, row, strict=True)), repeated=repeated)


def _prepare(connection: Connection, seconds: float, allowance: Allowance) -> None:
    """Have the database refuse writes and end a statement that takes too long, where it can."""
    dialect = connection.dialect.name
    driver: Any = connection.connection.driver_connection
    for statement in _STATEMENTS.get(dialect, ()):
        connection.exec_driver_sql(statement.format(milliseconds=int(1000 * seconds) + 1))
    if dialect == "sqlite":
        driver.set_progress_handler(lambda: allowance.is_over, 100_000)
        # Text that is no UTF-8 costs its own row and not the query.
        driver.text_factory = lambda text: text.decode(errors="surrogateescape")
    elif connection.dialect.driver == "psycopg":
        from psycopg.types.string import TextLoader

        for name in _DATES:  # as text: Python has no date after the year 9999, and no infinity
            driver.adapters.register_loader(name, TextLoader)


_DATES = ("date", "time", "timetz", "timestamp", "timestamptz", "interval")
# In the session too, since a query may end the transaction. Others are only sent the query.
_STATEMENTS = {
    "postgresql": (
        "SET TRANSACTION READ ONLY",
        "SET default_transaction_read_only = on",
        "SET statement_timeout = {milliseconds}",
    ),
    "mysql": (
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION max_execution_time = {milliseconds}",
    ),
    "mariadb": (
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION max_statement_time = {milliseconds} / 1000",
    ),
    "sqlite": ("PRAGMA query_only = ON",),
}


def open_database(url: str, setting: str = "source") -> Engine:
    """Return an engine on any SQLAlchemy URL, not yet tried; raises InvalidSetting."""
    try:
        parsed = with_driver(make_url(url))
        _refuse_absent_file(parsed)
        arguments = _CONNECTING.get(parsed.get_backend_name(), {})
        return create_engine(
            parsed, poolclass=NullPool, hide_parameters=True, connect_args=arguments
        )
    except (ArgumentError, ValueError, NoSuchModuleError):
        hint = "write the address as SQLAlchemy does, dialect://user:password@host/name"
    except ImportError as error:
        hint = f"install its driver, the Python package {error.name}"
    raise InvalidSetting(setting=setting, value="***", hint=hint)


_CONNECTING = {
    "postgresql": {"connect_timeout": _CONNECT},
    "mysql": {"connect_timeout": _CONNECT},
    "mariadb": {"connect_timeout": _CONNECT},
    "sqlite": {"timeout": _CONNECT},
}


def _refuse_absent_file(url: URL) -> None:
    # SQLite would make the file, and then have no table in it.
    name = url.database or ""
    special = not name or name.startswith((":memory:", "file:"))
    if url.get_backend_name() == "sqlite" and not special and not Path(name).is_file():
        raise UnreachableSource(url=safe_url(url), reason="there is no such file")


@contextmanager
def _asking(
    url: URL,
    kind: type[UnreachableSource | FailedQuery],
    allowance: Allowance,
    connection: Connection | None = None,
) -> Iterator[None]:
    """Wait for the database; its refusal, or its silence, is an error of a kind."""
    left = allowance.start()
    try:
        with _cut_off(connection, left + _GRACE):
            yield
    except DBAPIError as error:
        said = allowance.reason if allowance.is_over else reason(error, url)
        raise kind(url=safe_url(url), reason=said) from None
    except (ValueError, Warning) as error:  # a query that the driver itself does not take
        raise kind(url=safe_url(url), reason=str(error)) from None
    finally:
        allowance.stop()
    if allowance.is_over:
        raise kind(url=safe_url(url), reason=allowance.reason)


@contextmanager
def _cut_off(connection: Connection | None, seconds: float) -> Iterator[None]:
    """Cut the connection to a server that does not even end a statement in time."""
    driver: Any = connection.connection.driver_connection if connection is not None else None
    if not hasattr(driver, "fileno"):
        yield
        return
    with socket.socket(fileno=socket.dup(driver.fileno())) as wire:
        timer = Timer(seconds, lambda: wire.shutdown(socket.SHUT_RDWR))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
