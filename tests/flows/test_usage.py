"""A wrong use of the command line is one line that names what is wrong; nothing is opened."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from flows.cli import cli, exit_code
from hierdiff_core.printable import printable

CATALOGUE = ("ingest", "plan", "run", "tune")
NAMES = ("", " ", "shop\n2", "\x1b[31mshop", "shop\u202e", "caf\udce9", "x" * 101)
DATED = ("ingest", "plan", "run")
DAYS = ("today", "2026-13-01", "2026-02-30", "01.02.2026", "2026-01-01T00:00", "")
FOR_EACH = [
    ((), "Missing argument 'CATALOGUE'. `hierdiff"),
    (("shop", "more"), "Got unexpected extra argument (more)"),
    (("shop", "--fil", "x"), "No such option '--fil'."),
    (("shop", "--file"), "Option '--file' requires an argument"),
    (("shop", "--file", "/no/such.csv"), "File '/no/such.csv' does not exist"),
    (("shop", "--file", "/tmp"), "File '/tmp' is a directory"),
    (("shop", "--file", "a\x1b[31m"), "File 'a\\x1b[31m' does not exist"),
    (("shop", "--column", "title"), "'title' is not of the form NAME=VALUE"),
    (("shop", "--column", "=title"), "'' is not of the form NAME=VALUE"),
    (("shop", "--column", "text=title"), "_COLUMNS is {'text': 'title'}: 'text' is no column of a"),
    (("shop", "--template", "a mug"), "HIERDIFF_SOURCE_TEMPLATE is 'a mug': it names no column"),
    (("shop", "--template", "{a"), "HIERDIFF_SOURCE_TEMPLATE is '{a': the brace at character 1"),
    (("shop", "--encoding", "klingon"), "_ENCODING is 'klingon': there is no such encoding"),
]
WRONG = [
    *[((name, bad), " is no name: use 1 to 100 printable characters")
      for name in (*CATALOGUE, "schedule") for bad in NAMES],
    *[((name, *rest), said) for name in CATALOGUE for rest, said in FOR_EACH],
    *[((name, "shop", "--date", day), f"'{day}' does not match the format '%Y-%m-%d'")
      for name in DATED for day in DAYS],
    (("status", "--json=3"), "Option '--json' does not take a value"),
    (("doctor", "--json=3"), "Option '--json' does not take a value"),
    (("calibrate", "a", "--file", "/no/such.csv"), "File '/no/such.csv' does not exist"),
    (("calibrate", "a", "--column", "title"), "'title' is not of the form NAME=VALUE"),
    (("plna",), "No such command 'plna'"),
    (("--vers",), "No such option '--vers'. Did you mean '--version'?"),
    (("evaluate",), "Missing option '--prompts'"),
    (("tune", "shop", "--grid", "huge"), "'huge' is not one of 'quick', 'default'"),
    (("tune", "shop", "--sample", "1"), "1 is not in the range x>=8"),
    (("tune", "shop", "--sample", "many"), "'many' is not a valid integer"),
    (("tune", "shop", "--quality", "high"), "'high' is not a valid float"),
    (("tune", "shop", "--workers", "0"), "0 is not in the range x>=1"),
    (("calibrate", "--height", "tall"), "'tall' is not a valid integer"),
    (("calibrate", "--option", "prior"), "'prior' is not of the form NAME=VALUE"),
    (("gc", "--keep-nights", "few"), "'few' is not a valid integer"),
    (("forget",), "Give a reference or --prompt"),
    (("forget", "A1", "--prompt", "a red mug"), "Give a reference or --prompt"),
    (("gc", "shop"), "Got unexpected extra argument (shop)"),
    (("retry", "a", "b"), "Got unexpected extra argument (b)"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(a).strip() for a, _ in WRONG])
def test_a_wrong_use_is_one_line_and_ends_with_two(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = exit_code(lambda: cli(arguments, standalone_mode=False))
    assert code == 2
    assert out.getvalue() == ""
    (line,) = err.getvalue().splitlines()
    assert line.startswith("hierdiff: ")
    assert said in line
    assert line == printable(line)
    assert list(tmp_path.iterdir()) == []


def test_the_bare_command_lists_what_it_can() -> None:
    err = io.StringIO()
    with redirect_stderr(err):
        assert exit_code(lambda: cli([], standalone_mode=False)) == 2
    assert "plan" in err.getvalue()
