"""Sources: the user's own database or file, one row after the other.

Sources are only read, and a password in an address never shows. Which columns matter is decided in
`tasks.ingest`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from hierdiff_core.errors import InvalidSetting
from tasks.database import reason, safe_url, with_driver
from tasks.errors import FailedQuery, UnreachableSource, UnreadableFile

_CHUNK = 1000  # rows asked for at once


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of a source, or why it could not be parsed."""

    number: int  # a query's rows and a file's lines count from 1, so a CSV's first row is 2
    columns: Mapping[str, object] = field(default_factory=dict)
    fault: str = ""


def read_source(url: str, query: str) -> Iterator[SourceRow]:
    """Yield the rows of a query on any SQLAlchemy URL, streamed and read-only.

    Raises InvalidSetting, UnreachableSource, FailedQuery.
    """
    engine = _open_engine(url)
    parsed = engine.url
    try:
        with _asking(parsed, UnreachableSource):
            connection = engine.connect()
        with connection, _asking(parsed, FailedQuery):
            _refuse_writing(connection)
            # The query is the user's own text: its % and : are not ours to interpret.
            options = {"stream_results": True, "yield_per": _CHUNK, "no_parameters": True}
            with connection.execution_options(**options).exec_driver_sql(query) as result:
                if not result.returns_rows:
                    raise FailedQuery(
                        url=safe_url(parsed), reason="it returns no rows; use a SELECT"
                    )
                for number, row in enumerate(result.mappings(), start=1):
                    yield SourceRow(number, dict(row))
    finally:
        engine.dispose()


def read_file(path: Path) -> Iterator[SourceRow]:
    """Yield the rows of a .csv, .tsv, .jsonl or .ndjson file in UTF-8.

    Raises UnreadableFile. A line that cannot be parsed comes as a row with a fault.
    """
    reader = _FORMATS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableFile(path=path, reason=f"its name must end in {', '.join(_FORMATS)}")
    try:
        # Bytes that are no UTF-8 become surrogates, which cost their own row and no other.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            yield from reader(lines)
    except OSError as error:
        raise UnreadableFile(path=path, reason=error.strerror or "it cannot be opened") from None


def _read_csv(lines: TextIO, delimiter: str = ",") -> Iterator[SourceRow]:
    reader = csv.reader(lines, delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    number = 1
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield SourceRow(number, fault=f"the line is not valid CSV ({error})")
            continue
        if len(cells) > len(header):
            yield SourceRow(
                number, fault=f"it has {len(cells)} cells, the header has {len(header)}"
            )
        elif any(cells):
            yield SourceRow(number, dict(zip(header, cells, strict=False)))


def _read_tsv(lines: TextIO) -> Iterator[SourceRow]:
    return _read_csv(lines, delimiter="\t")


def _read_jsonl(lines: TextIO) -> Iterator[SourceRow]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield SourceRow(number, fault=f"the line is not valid JSON ({error})")
            continue
        if isinstance(columns, dict):
            yield SourceRow(number, columns)
        else:
            yield SourceRow(number, fault="the line is not a JSON object")


_FORMATS: dict[str, Callable[[TextIO], Iterator[SourceRow]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
}

# The statement that makes a database refuse writes; others are only sent the query.
_READ_ONLY = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}


def _refuse_writing(connection: Connection) -> None:
    statement = _READ_ONLY.get(connection.dialect.name)
    if statement:
        connection.exec_driver_sql(statement)


def _open_engine(url: str) -> Engine:
    try:
        parsed = with_driver(make_url(url))
        return create_engine(parsed, poolclass=NullPool, hide_parameters=True)
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
