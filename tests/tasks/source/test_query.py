"""Rows come out of the user's own database as they are, and nothing there is changed."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.printable import printable
from tasks.errors import FailedQuery, RepeatedColumn, UnreachableSource
from tasks.ingest import read_batch
from tasks.source.database import _CONNECTING, read_query
from tasks.source.file import read_file
from tasks.source.limits import Limits
from tasks.source.source_row import SourceRow
from tests.servers import fresh_database
from tests.tasks.conftest import RECIPE


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a shop's database with two products, which no test can change."""
    if request.param == "sqlite":
        yield _fill(f"sqlite:///{tmp_path_factory.mktemp('shop') / 'shop.db'}")
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield _fill(url)


def _fill(url: str) -> str:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE products (sku text, name text, scale numeric(4, 2))"))
        add = text("INSERT INTO products VALUES (:sku, :name, :scale)")
        connection.execute(add, [{"sku": "1", "name": "mug 100%", "scale": 2.5}])
        connection.execute(add, [{"sku": "2", "name": None, "scale": None}])
    engine.dispose()
    return url


def test_a_query_yields_its_rows_numbered_from_one(source: str) -> None:
    query = "SELECT name AS prompt, sku AS reference, scale AS guidance FROM products ORDER BY sku"
    first, second = read_query(source, query)
    assert (first.number, first.columns["prompt"]) == (1, "mug 100%")
    assert second == SourceRow(2, {"prompt": None, "reference": "2", "guidance": None})
    batch = read_batch(read_query(source, query), RECIPE)
    assert batch.prompts[0].recipe.guidance == 2.5
    assert [fault.row for fault in batch.rejected] == [2]


def test_percent_and_colon_in_a_query_are_the_users_own(source: str) -> None:
    query = "SELECT name AS prompt, ' :x %s %(y)s' AS z FROM products WHERE name LIKE '%100\\%%'"
    if source.startswith("sqlite"):
        query += " ESCAPE '\\'"
    (row,) = read_query(source, query)
    assert row.columns["z"] == " :x %s %(y)s"


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)"
NO_SELECT = [
    "DELETE FROM products",
    "UPDATE products SET name = 'x' RETURNING name",
    "INSERT INTO products VALUES ('3', 'x', 1) RETURNING name",
    "DROP TABLE products",
    "CREATE TABLE others (a text)",
    "SELECT 1; DROP TABLE products",
    "SELECT 1; COMMIT; DROP TABLE products",
    "COMMIT; DROP TABLE products",
    "WITH gone AS (DELETE FROM products RETURNING *) SELECT * FROM gone",
    "SELECT nothing FROM nowhere",
    "SELECT nothing FROM products",
    "SELECT name FROM products WHERE",
    "SELECT name AS prompt FROM products WHERE name = 'oops",
    "SELEC name FROM products",
    "name",
    "SELECT no_such_function(name) FROM products",
    "SELECT \x1b[31mname FROM products",
    "SELECT '\x00'",
    "SELECT '\udcff'",
    "SELECT * FROM products ORDER BY nothing",
    "BEGIN",
    "COMMIT",
    ";",
    "",
    "   ",
    "-- nothing",
]


@pytest.mark.parametrize("query", NO_SELECT, ids=range(len(NO_SELECT)))
def test_a_query_that_is_no_select_is_refused_and_changes_nothing(source: str, query: str) -> None:
    with pytest.raises(FailedQuery) as caught:
        list(read_query(source, query))
    assert str(caught.value) == printable(str(caught.value))
    assert len(list(read_query(source, "SELECT name FROM products WHERE name <> 'x'"))) == 1


@pytest.mark.parametrize(
    ("database", "query"),
    [
        ("postgres", "SELECT pg_sleep(60)"),
        ("postgres", "SELECT 'a' AS prompt, pg_sleep(.2) FROM generate_series(1, 1000)"),
        ("postgres", "SELECT 'a' AS prompt FROM generate_series(1, 1000000000)"),
        (
            "sqlite",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n",
        ),
        ("sqlite", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n"),
    ],
)
def test_a_query_without_end_is_given_up(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, query: str
) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    (tmp_path / "shop.db").touch()
    if database == "postgres":
        url = request.getfixturevalue("postgres_url")
    started = time.monotonic()
    with pytest.raises(FailedQuery, match=r"within 0\.4 s; raise HIERDIFF_SOURCE_SECONDS"):
        deque(read_query(url, query, Limits(seconds=0.4)), maxlen=0)
    assert time.monotonic() - started < 5


def test_what_is_done_with_the_rows_does_not_count_as_the_sources_time(
    postgres_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("prompt\n" + "mug\n" * 2500)
    limits = Limits(seconds=0.5)
    query = "SELECT 'mug' AS prompt FROM generate_series(1, 2500)"
    for rows in (read_query(postgres_url, query, limits), read_file(file, limits=limits)):
        next(rows)
        time.sleep(0.7)
        assert sum(1 for _ in rows) == 2499


def test_a_server_that_freezes_is_cut_off(postgres_url: str) -> None:
    query = "SELECT pg_backend_pid() FROM generate_series(1, 100000)"
    started = time.monotonic()
    rows = read_query(postgres_url, query, Limits(seconds=0.2))
    process = int(str(next(rows).columns["pg_backend_pid"]))
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(FailedQuery, match=r"did not end within 0\.2 s"):
        deque(rows, maxlen=0)
    os.kill(process, signal.SIGCONT)
    assert time.monotonic() - started < 5


def test_a_server_that_accepts_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(_CONNECTING, "postgresql", {"connect_timeout": 2})
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://bob:hush@127.0.0.1:{server.getsockname()[1]}/shop"
        with pytest.raises(UnreachableSource, match="time") as caught:
            list(read_query(url, "SELECT 1"))
    assert "hush" not in str(caught.value)


def test_a_fault_in_a_later_row_is_the_querys(postgres_url: str) -> None:
    query = "SELECT 'a' AS prompt, 1 / (2000 - n) FROM generate_series(1, 5000) n"
    with pytest.raises(FailedQuery, match="division by zero"):
        list(read_query(postgres_url, query))


def test_a_column_that_a_query_returns_twice_is_refused(source: str) -> None:
    query = "SELECT name AS prompt, sku AS prompt FROM products"
    with pytest.raises(RepeatedColumn, match="'prompt'"):
        read_batch(read_query(source, query), RECIPE)
    twice = read_batch(read_query(source, "SELECT name AS prompt, sku, sku FROM products"), RECIPE)
    assert [prompt.text for prompt in twice.prompts] == ["mug 100%"]


POSTGRES_VALUES = {
    "42::int8": 42, "42.0::numeric": 42, "42.0::float8": 42, "42::int2": 42, "'42'": 42,
    "' 42.0 '": 42, "NULL": 0, "'NaN'::float8": 0, "'NaN'::numeric": 0, "''": 0, "'NULL'": 0,
    "9007199254740993::numeric": 2**53 + 1, "'42'::varchar": 42, "'42'::char(5)": 42,
    "42.5::numeric": None, "true": None, "'Infinity'::float8": None, "'2026-01-01'::date": None,
    "'infinity'::timestamptz": None, "'20000-01-01'::date": None, "'x'::bytea": None,
    "'[1]'::jsonb": None, "ARRAY[1]": None, "'{\"a\": 1}'::jsonb": None, "interval '1 day'": None,
    "gen_random_uuid()": None, "1e300::float8": None, "-1": None, "9223372036854775808": None,
}  # fmt: skip


def test_values_keep_their_meaning_from_every_type_of_a_database(postgres_url: str) -> None:
    parts = [f"SELECT {value}" for value in POSTGRES_VALUES]
    found = {}
    for value, part in zip(POSTGRES_VALUES, parts, strict=True):
        query = (
            f"{part} AS seed, 'a' AS prompt, {value} AS reference UNION ALL SELECT NULL, 'b', NULL"
        )
        batch = read_batch(read_query(postgres_url, query), RECIPE)
        seeds = [prompt.own_seed or 0 for prompt in batch.prompts if prompt.text == "a"]
        assert [prompt.text for prompt in batch.prompts][-1] == "b"
        found[value] = seeds[0] if seeds else None
    assert found == POSTGRES_VALUES


def test_text_that_is_no_utf8_costs_its_own_row(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as shop, shop:
        shop.execute("CREATE TABLE products (name)")
        shop.execute("INSERT INTO products VALUES ('mug'), (CAST(x'636166e9' AS TEXT)), (x'00')")
    batch = read_batch(
        read_query(f"sqlite:///{file}", "SELECT name AS prompt FROM products"), RECIPE
    )
    assert [prompt.text for prompt in batch.prompts] == ["mug"]
    assert [each.row for each in batch.rejected] == [2, 3]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UnreachableSource, match="there is no such file"):
        list(read_query(f"sqlite:///{tmp_path / 'none.db'}", "SELECT 1"))
    assert list(tmp_path.iterdir()) == []


def test_rows_are_streamed(postgres_url: str) -> None:
    rows = read_query(postgres_url, "SELECT 'mug ' || generate_series(1, 1000000000) AS prompt")
    assert next(rows).columns == {"prompt": "mug 1"}
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob:hush@127.0.0.1:1/shop?password=hush",
        "postgres://bob:hush@127.0.0.1:1/shop",
        "sqlite:////no/such/folder/hush-less.db",
    ],
)
def test_an_unreachable_source_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(UnreachableSource) as caught:
        list(read_query(url, "SELECT 1"))
    assert "hush@" not in str(caught.value)
    assert "=hush" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "hush",
        "nosuch://bob:hush@host/x",
        "mysql+mysqldb://bob:hush@host/x",
        "postgresql://a:hush@b:port/x",
    ],
)
def test_an_address_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidSetting, match="source") as caught:
        list(read_query(url, "SELECT 1"))
    assert "hush" not in str(caught.value)
