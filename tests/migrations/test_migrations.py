"""Migrations and models agree, in both directions and from anywhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from flows.cli import cli
from hierdiff_core.errors import InvalidSetting
from tasks.database import check_schema, migrate, migration_config
from tasks.errors import (
    ForbiddenDatabase,
    NewerSchema,
    OutdatedSchema,
    RefusedByDatabase,
    UnreachableDatabase,
)
from tasks.records import Base

# Constraints and indexes as PostgreSQL itself spells them; Alembic compares no CHECKs.
_SPELLED = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
UNION ALL
SELECT tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL
SELECT table_name, column_name,
       concat_ws(' ', data_type, character_maximum_length, is_nullable, column_default)
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name <> 'alembic_version'
ORDER BY 1, 2, 3
"""


def _spelled(engine: Engine) -> list[tuple[str, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(_SPELLED))]


def test_alembic_finds_no_difference_between_migrations_and_models(database: Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_postgres_spells_migrated_tables_and_models_the_same(
    database: Engine, postgres_url: str
) -> None:
    from_models = create_engine(postgres_url)
    Base.metadata.create_all(from_models)
    assert _spelled(database) == _spelled(from_models)
    from_models.dispose()


def test_every_constraint_and_index_has_a_name_of_ours(database: Engine) -> None:
    # PostgreSQL 18 lists NOT NULL as constraints, which it names by itself.
    names = [name for _, name, definition in _spelled(database) if "(" in definition]
    named = [name for name in names if name.startswith(("pk_", "uq_", "fk_", "ix_", "ck_"))]
    assert len(named) >= 2 * len(Base.metadata.tables)
    assert all(len(name) < 63 for name in named)


def test_going_down_removes_every_table_and_coming_up_restores_them(database: Engine) -> None:
    before = _spelled(database)
    with database.begin() as connection:
        command.downgrade(migration_config(connection), "base")
    assert inspect(database).get_table_names() == ["alembic_version"]
    migrate(database.url.render_as_string(hide_password=False))
    assert _spelled(database) == before


def test_migrations_at_the_same_time_take_turns(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [postgres_url] * 4))
    engine = create_engine(postgres_url)
    assert set(Base.metadata.tables) < set(inspect(engine).get_table_names())
    engine.dispose()


def test_migrating_again_changes_nothing(database: Engine) -> None:
    before = _spelled(database)
    migrate(database.url.render_as_string(hide_password=False))
    assert _spelled(database) == before


def test_a_database_without_tables_is_named_outdated(postgres_url: str, database: Engine) -> None:
    check_schema(database)
    empty = create_engine(postgres_url)
    with pytest.raises(OutdatedSchema, match="hierdiff migrate"):
        check_schema(empty)
    empty.dispose()


def test_migrations_run_from_any_folder(postgres_url: str, tmp_path: Path) -> None:
    code = "import sys; from tasks.database import migrate; migrate(sys.argv[1])"
    root = Path(__file__).parents[2]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run(
        [sys.executable, "-c", code, postgres_url], check=True, cwd=tmp_path, env=environment
    )
    engine = create_engine(postgres_url)
    assert inspect(engine).has_table("segments")
    engine.dispose()


def test_the_alembic_command_works_in_a_clone(postgres_url: str) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "HIERDIFF_DATABASE_URL": postgres_url}
    for arguments in (["upgrade", "head"], ["check"], ["upgrade", "head", "--sql"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            check=True,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
        )
    assert "CREATE TABLE segments" in done.stdout


def test_alembic_commands_at_the_same_time_take_turns_too(postgres_url: str) -> None:
    root = Path(__file__).parents[2]
    command_line = [sys.executable, "-m", "alembic", "upgrade", "head"]
    environment = {**os.environ, "HIERDIFF_DATABASE_URL": postgres_url}
    both = [
        subprocess.Popen(command_line, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [(each.communicate()[1], each.returncode) for each in both]
    assert [code for _, code in ends] == [0, 0], ends


def test_the_command_makes_the_tables_prints_them_and_takes_them_back(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIERDIFF_DATABASE_URL", postgres_url)
    head = str(ScriptDirectory.from_config(migration_config()).get_current_head())
    assert f"revision {head}" in run("migrate")
    assert "revision 0002" in run("migrate", "--down", "0002")
    assert f"revision {head}" in run("migrate")
    assert "CREATE TABLE segments" in run("migrate", "--sql")
    with pytest.raises(InvalidSetting, match="0002"):
        run("migrate", "--down", "last year")


def run(*arguments: str) -> str:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout


def test_tables_newer_than_the_code_are_refused_and_left_alone(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = _spelled(database)
    for refusing in (
        lambda: check_schema(database),
        lambda: migrate(database.url.render_as_string(hide_password=False)),
    ):
        with pytest.raises(NewerSchema, match="9999"):
            refusing()
    assert _spelled(database) == before


def test_a_role_without_rights_gets_one_line(database: Engine, postgres_url: str) -> None:
    role = f"reader_{uuid4().hex[:8]}"
    with database.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'hush'"))
    try:
        for url in (postgres_url, database.url.render_as_string(hide_password=False)):
            with pytest.raises(ForbiddenDatabase, match="permission denied") as caught:
                migrate(make_url(url).update_query_dict({"user": role}).render_as_string())
            assert "\n" not in str(caught.value)
    finally:
        with database.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))


def test_a_server_without_tls_gets_one_line(postgres_url: str) -> None:
    # A socket has no TLS, which libpq then leaves out; over TCP it says what is wrong.
    url = make_url(postgres_url)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=_refuse_tls, args=[listener], daemon=True)
        thread.start()
        query = {"sslmode": "require"}
        over = url.set(host="127.0.0.1", port=listener.getsockname()[1], query=query)
        with pytest.raises(RefusedByDatabase, match="SSL"):
            migrate(over.render_as_string(hide_password=False))
        thread.join()


def _refuse_tls(listener: socket.socket) -> None:
    """Answer as a PostgreSQL server without TLS does: the one byte N."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(8)
        connection.sendall(b"N")


@pytest.mark.parametrize("url", ["sqlite://", "no address at all", "mysql://bob:hush@host/x"])
def test_only_a_postgres_address_is_taken(url: str) -> None:
    with pytest.raises(InvalidSetting, match="HIERDIFF_DATABASE_URL") as caught:
        migrate(url)
    assert "hush" not in str(caught.value)


def test_an_unreachable_database_is_one_line_without_the_password() -> None:
    with pytest.raises(UnreachableDatabase) as caught:
        migrate("postgresql://bob:hush-hush@127.0.0.1:1/x?password=hush-hush")
    message = str(caught.value)
    assert "127.0.0.1:1" in message
    assert "hush" not in message + repr(caught.value) + repr(caught.value.facts)
    assert "\n" not in message
