"""No source holds up a night: what never ends or is no file is refused within its limits."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hierdiff_core.errors import InvalidSetting
from tasks.errors import NoSource, TooManyRows, UnreadableFile
from tasks.settings import read_settings
from tasks.source.file import read_file
from tasks.source.limits import Limits
from tasks.source.reading import open_columns, open_source
from tasks.source.stream import STANDARD_INPUT


def refusal(path: Path, limits: Limits | None = None) -> str:
    started = time.monotonic()
    with pytest.raises(UnreadableFile) as caught:
        list(read_file(path, limits=limits))
    assert time.monotonic() - started < 5
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt"])
@pytest.mark.parametrize("kind", ["pipe", "zero", "random", "null", "socket", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(f"/dev/{'urandom' if kind == 'random' else kind}")
    said = refusal(path)
    wanted = {"folder": "it is a directory", "socket": "No such device"}
    assert wanted.get(kind, "it is no regular file; write - and pipe the rows into") in said


@pytest.mark.parametrize(
    "name",
    ["a.xlsx", "a.ods", "a.xls", "a.parquet", "a", "a.csv.gz", "a.pdf", ".csv", "-x", "a.CSVX"],
)
def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("prompt\na\n")
    said = refusal(tmp_path / name)
    assert "its name must end in .csv, .tsv, .txt, .json, .jsonl, .ndjson" in said
    assert ("save the sheet as CSV" in said) == name.endswith((".xlsx", ".ods", ".xls"))


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    assert "Too many levels of symbolic links" in refusal(loop)
    assert "No such file" in refusal(tmp_path / "none.csv")
    assert "File name too long" in refusal(tmp_path / ("x" * 300 + ".csv"))
    assert "Not a directory" in refusal(Path("/dev/null/a.csv"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt"])
def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as sparse:
        sparse.truncate(2_000_001)
    said = refusal(path, Limits(megabytes=2))
    assert "it has more than 2 MB; raise HIERDIFF_SOURCE_MEGABYTES" in said


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt\n" + "\n" * 100_000)
    assert "within 1e-06 s; raise HIERDIFF_SOURCE_SECONDS" in refusal(path, Limits(seconds=1e-6))


def test_more_rows_than_a_night_may_have_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt\n" + "a mug\n" * 11)
    assert len(list(open_source(read_settings(source_rows=11), file=path))) == 11
    with pytest.raises(TooManyRows, match=r"more than 10 rows.*HIERDIFF_SOURCE_ROWS"):
        list(open_source(read_settings(source_rows=10), file=path))


def test_a_file_and_a_query_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="--query is given too; use one of the two"):
        open_source(read_settings(), "SELECT 1", tmp_path / "a.csv")


@pytest.mark.parametrize("how", [{}, {"source_query": "SELECT 1"}, {"source_url": "sqlite://"}])
def test_no_source_is_one_line_that_says_how_to_give_one(how: dict[str, str]) -> None:
    with pytest.raises(NoSource, match="HIERDIFF_SOURCE_FILE"):
        open_source(read_settings(**how))


def test_a_template_and_a_mapped_prompt_at_once_are_refused() -> None:
    settings = read_settings(source_template="{a}", source_columns={"prompt": "b"})
    with pytest.raises(InvalidSetting, match="a column for `prompt` is named too"):
        open_columns(settings)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of what is standard input for a test."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield writing


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"prompt\na\nb\n", ["a", "b"]),
        (b"prompt;seed\na;1\n", ["a"]),
        (b'{"prompt": "a"}\n{"prompt": "b"}\n', ["a", "b"]),
        (b'[{"prompt": "a"}]', ["a"]),
        ("\ufeffprompt\ncafé\n".encode(), ["café"]),
        ("prompt\tseed\ncafé\t1\n".encode("utf-16"), ["café"]),
        (b"", []),
    ],
    ids=range(7),
)
def test_standard_input_is_read_to_its_end(pipe: int, content: bytes, texts: list[str]) -> None:
    os.write(pipe, content)
    os.close(pipe)
    assert [row.columns["prompt"] for row in read_file(STANDARD_INPUT)] == texts


def test_standard_input_that_says_nothing_is_given_up(pipe: int) -> None:
    said = refusal(STANDARD_INPUT, Limits(seconds=0.2))
    assert said == (
        "File - cannot be read: it did not end within 0.2 s; raise HIERDIFF_SOURCE_SECONDS."
    )
    os.close(pipe)


def test_standard_input_without_end_is_given_up(pipe: int) -> None:
    def pour() -> None:
        try:
            while True:
                os.write(pipe, b"prompt\n" * 10_000)
        except BrokenPipeError:
            os.close(pipe)

    writer = threading.Thread(target=pour)
    writer.start()
    assert "it has more than 1 MB" in refusal(STANDARD_INPUT, Limits(megabytes=1))
    sys.stdin.close()
    writer.join()


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, other = os.openpty()
    with os.fdopen(other) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert "nothing is piped into the command" in refusal(STANDARD_INPUT)
    os.close(terminal)


@pytest.mark.parametrize(
    ("encoding", "content", "said"),
    [
        ("cp1252", b"prompt\ncaf\xe9\n", "café"),
        ("latin-1", b"prompt\ncaf\xe9\n", "café"),
        ("utf-8", b"prompt\ncaf\xc3\xa9\n", "café"),
        ("shift_jis", "prompt\n茶\n".encode("shift_jis"), "茶"),
        ("gb18030", "prompt\n茶\n".encode("gb18030"), "茶"),
        ("utf-16-le", "prompt\ncafé\n".encode("utf-16-le"), "café"),
        ("cp1252", "prompt\ncafé\n".encode("utf-8-sig"), "café"),
        ("cp1252", "prompt\ncafé\n".encode("utf-16"), "café"),
        ("ascii", b"prompt\ncaf\xe9\n", "caf\udce9"),
    ],
)
def test_an_encoding_is_the_one_that_is_said_unless_a_mark_says_another(
    tmp_path: Path, encoding: str, content: bytes, said: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    (row,) = read_file(tmp_path / "a.csv", encoding=encoding)
    assert row.columns["prompt"] == said


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-7"])
def test_a_file_that_is_not_of_the_encoding_is_refused_in_one_line(
    tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt\ncaf+\xff\xfe-!")
    with pytest.raises(UnreadableFile, match=f"it is not {encoding}"):
        list(read_file(tmp_path / "a.csv", encoding=encoding))
