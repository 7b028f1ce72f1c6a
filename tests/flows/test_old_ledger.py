"""Every command that reads the ledger says in one line that its tables are another version's."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from flows.cli import cli, exit_code
from tasks.settings import Settings
from tests.tasks.night_kit import environment

READING = {
    "doctor": (),
    "ingest": ("shop", "--file", "-"),
    "plan": ("shop", "--file", "-"),
    "run": ("shop", "--file", "-"),
    "retry": ("latest",),
    "tune": ("shop", "--file", "-"),
    "status": (),
    "report": ("latest",),
    "review": ("latest",),
    "deliver": ("latest",),
    "gc": (),
    "metrics": ("--port", "0"),
    "forget": ("A-17",),
}
# They bring the tables to this version, or use none.
OTHERS = {"demo", "standalone", "migrate", "deploy", "schedule", "worker"}
OTHERS |= {"calibrate", "evaluate", "settings"}


@pytest.fixture
def place(settings: Settings, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    for name, value in environment(settings).items():
        if name.startswith("HIERDIFF_") and value not in ("", "[]", "{}"):
            monkeypatch.setenv(name, value)
    return database


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [*((name, "0002", "run `hierdiff migrate`") for name in READING), ("status", "9", "9")],
)
def test_a_command_on_tables_of_another_version_says_so_in_one_line(
    place: Engine, name: str, version: str, says: str
) -> None:
    with place.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})
    code, said = run(name, *READING[name])
    assert code == (1 if name == "doctor" else 2), said
    (line,) = [each for each in said.splitlines() if "is at schema" in each]
    assert f"is at schema {version}" in line
    assert says in line
    assert name == "doctor" or said.strip() == line


def test_every_command_is_known_to_read_the_ledger_or_not() -> None:
    assert set(cli.commands or cli.list_commands(None)) == READING.keys() | OTHERS  # type: ignore[arg-type]


def run(*arguments: str) -> tuple[int, str]:
    """Return a command's exit code, and all that it says."""
    runner = CliRunner()
    with runner.isolation(input="prompt\na red mug\n") as (out, _, both):
        code = exit_code(lambda: cli.main(list(arguments), standalone_mode=False))
        del out
        return code, both.getvalue().decode()
