"""A session is one transaction, and a database that fails is named without its password."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, func, select, text

from tasks.database import connect, safe_url, session_scope
from tasks.errors import NoStack, UnreachableDatabase
from tasks.records import Catalogue
from tasks.settings import Settings

_BACKEND = text("SELECT pg_backend_pid()")
_OPEN = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")


def _count(database: Engine) -> int:
    with session_scope(database) as session:
        return session.execute(select(func.count()).select_from(Catalogue)).scalar_one()


def test_a_session_is_kept_whole_or_not_at_all(database: Engine) -> None:
    with session_scope(database) as session:
        session.add(Catalogue(name="kept"))

    def add_and_fail() -> None:
        with session_scope(database) as session:
            session.add(Catalogue(name="lost"))
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        add_and_fail()
    assert _count(database) == 1


def test_a_connection_that_breaks_is_an_unreachable_database(database: Engine) -> None:
    with pytest.raises(UnreachableDatabase, match="test-"), session_scope(database) as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert _count(database) == 0


def test_a_connection_that_broke_while_idle_is_replaced(database: Engine) -> None:
    with session_scope(database) as session:
        mine = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = connect(Settings(database_url=_url(database)))
    with session_scope(other) as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
    other.dispose()
    assert _count(database) == 0


def test_threads_that_meet_leave_one_connection_open(database: Engine) -> None:
    with (
        session_scope(database) as one,
        session_scope(database) as two,
        session_scope(database) as three,
    ):
        assert len({each.execute(_BACKEND).scalar_one() for each in (one, two, three)}) == 3
    until = time.monotonic() + 30
    while (left := _open(database)) > 1:  # the server takes a moment to let one go
        assert time.monotonic() < until
    assert left == 1


def _open(database: Engine) -> int:
    with session_scope(database) as session:
        return session.execute(_OPEN).scalar_one()


def test_a_mistake_in_a_statement_is_not_called_unreachable(database: Engine) -> None:
    with pytest.raises(Exception, match="UndefinedTable"), session_scope(database) as session:
        session.execute(text("SELECT * FROM nothing"))


def test_no_database_at_all_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoStack, match="hierdiff standalone"):
        connect(Settings(home=tmp_path))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_an_unreachable_database_is_one_line_without_the_password(scheme: str) -> None:
    url = SecretStr(f"{scheme}://bob:hush%20hush@127.0.0.1:1/x")
    with pytest.raises(UnreachableDatabase) as caught:
        connect(Settings(database_url=url))
    assert "hush" not in f"{caught.value}{caught.value!r}{caught.value.facts}"
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_address_is_shown_without_password_and_options(database: Engine) -> None:
    loud = database.url.set(password="hush").update_query_dict({"password": "hush"})
    assert "hush" not in safe_url(loud)
    assert "hierdiff-test-" in safe_url(loud)


def test_statements_are_logged_without_their_values(
    database: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"), session_scope(database) as session:
        session.add(Catalogue(name="secret catalogue"))
    assert "INSERT INTO catalogues" in caplog.text
    assert "secret catalogue" not in caplog.text


def _url(database: Engine) -> SecretStr:
    return SecretStr(database.url.render_as_string(hide_password=False))
