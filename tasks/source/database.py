"""The user's own database: a query's rows, streamed and read-only.

A password in an address never shows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from hierdiff_core.errors import InvalidSetting
from tasks.database import reason, safe_url, with_driver
from tasks.errors import FailedQuery, UnreachableSource
from tasks.source.limits import Limits
from tasks.source.source_row import SourceRow
from tasks.source.stream import too_slow

_CHUNK = 1000  # rows asked for at once
_CONNECT = 8  # seconds in which a database answers, or is not there


def read_query(url: str, query: str, limits: Limits | None = None) -> Iterator[SourceRow]:
    """Yield the rows of a query on any SQLAlchemy URL, streamed and read-only.

    Raises InvalidSetting, UnreachableSource, and FailedQuery, also for one that takes too long.
    """
    limits = limits or Limits()
    engine = _open_engine(url)
    parsed, until = engine.url, time.monotonic() + limits.seconds
    try:
        with _asking(parsed, UnreachableSource):
            connection = engine.connect()
        with connection, _asking(parsed, FailedQuery):
            _refuse_writing(connection)
            _limit_time(connection, limits.seconds)
            # The query is the user's own text: its % and : are not ours to interpret.
            options = {"stream_results": True, "yield_per": _CHUNK, "no_parameters": True}
            with connection.execution_options(**options).exec_driver_sql(query) as result:
                if not result.returns_rows:
                    raise FailedQuery(
                        url=safe_url(parsed), reason="it returns no rows; use a SELECT"
                    )
                names = tuple(result.keys())
                repeated = frozenset(n for n, count in Counter(names).items() if count > 1)
                for number, row in enumerate(result, start=1):
                    if time.monotonic() > until:
                        raise FailedQuery(url=safe_url(parsed), reason=too_slow(limits))
                    yield SourceRow(number, dict(zip(names, row, strict=True)), repeated=repeated)
    finally:
        engine.dispose()


# The statement that makes a database refuse writes; others are only sent the query.
_READ_ONLY = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}


_TIME_LIMITS = {
    "postgresql": "SET LOCAL statement_timeout = {milliseconds}",
    "mysql": "SET SESSION max_execution_time = {milliseconds}",
    "mariadb": "SET SESSION max_statement_time = {milliseconds} / 1000",
}


def _refuse_absent_file(url: URL) -> None:
    # SQLite would make the file, and then have no table in it.
    name = url.database or ""
    plain = (
        url.get_backend_name() == "sqlite" and name and not name.startswith((":memory:", "file:"))
    )
    if plain and not Path(name).is_file():
        raise UnreachableSource(url=safe_url(url), reason="there is no such file")


def _refuse_writing(connection: Connection) -> None:
    statement = _READ_ONLY.get(connection.dialect.name)
    if statement:
        connection.exec_driver_sql(statement)


def _limit_time(connection: Connection, seconds: float) -> None:
    """Have the database itself end a statement that takes too long, where it can."""
    dialect = connection.dialect.name
    statement = _TIME_LIMITS.get(dialect)
    if statement:
        connection.exec_driver_sql(statement.format(milliseconds=int(1000 * seconds)))
    elif dialect == "sqlite":
        until = time.monotonic() + seconds
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: time.monotonic() > until, 100_000)


def _open_engine(url: str) -> Engine:
    try:
        parsed = with_driver(make_url(url))
        _refuse_absent_file(parsed)
        arguments = {"connect_timeout": _CONNECT} if parsed.get_backend_name() in _READ_ONLY else {}
        if parsed.get_backend_name() == "sqlite":
            arguments = {"timeout": _CONNECT}
        return create_engine(
            parsed, poolclass=NullPool, hide_parameters=True, connect_args=arguments
        )
    except (ArgumentError, ValueError, NoSuchModuleError):
        hint = "write the source's address as SQLAlchemy does, dialect://user:password@host/name"
    except ImportError as error:
        hint = f"install its driver, the Python package {error.name}"
    raise InvalidSetting(setting="source", value="***", hint=hint)


@contextmanager
def _asking(url: URL, kind: type[UnreachableSource | FailedQuery]) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise kind(url=safe_url(url), reason=reason(error, url)) from None
