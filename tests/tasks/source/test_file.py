"""Rows come out of a file as they are: numbered by its lines, and to the letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import UnreadableFile
from tasks.ingest import read_batch
from tasks.source.file import read_file
from tasks.source.source_row import SourceRow
from tests.tasks.conftest import RECIPE
from tests.tasks.ledger.test_claims import HOSTILE


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_csv_file_counts_its_header_as_line_one(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.csv", "\ufeffprompt, reference\n a mug ,1\n\n,\nbag,2\n")
    assert list(read_file(path)) == [
        SourceRow(2, {"prompt": " a mug ", "reference": "1"}),
        SourceRow(5, {"prompt": "bag", "reference": "2"}),
    ]


def test_a_csv_line_with_too_many_cells_is_a_fault(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.csv", "prompt,reference\nmug, red,1\nbag\n")
    fault, short = read_file(path)
    assert fault.fault == "it has 3 cells, the header has 2"
    assert short == SourceRow(3, {"prompt": "bag", "reference": ""})


def test_a_csv_cell_that_never_ends_is_a_fault_and_not_the_end(tmp_path: Path) -> None:
    huge = "x" * 1_000_001
    path = _write(tmp_path, "a.csv", f"prompt\nmug\n{huge}\nbag\n")
    rows = list(read_file(path))
    assert [row.columns.get("prompt") for row in rows] == ["mug", None, "bag"]
    assert rows[1] == SourceRow(3, fault="it is longer than 1,000,000 characters")


def test_bad_json_lines_are_faults_and_the_others_go_on(tmp_path: Path) -> None:
    lines = ['{"prompt": "mug"}', "", "{oops", "[1]", "null", "[" * 100_000, '{"prompt": "bag"}']
    path = _write(tmp_path, "a.jsonl", "\n".join(lines))
    rows = list(read_file(path))
    assert [row.number for row in rows] == [1, 3, 4, 5, 6, 7]
    assert [bool(row.fault) for row in rows] == [False, True, True, True, True, False]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.ndjson", "A.CSV"])
def test_bytes_that_are_no_utf8_cost_their_own_row(tmp_path: Path, name: str) -> None:
    header = b"" if "json" in name else b"prompt\n"
    row = b'{"prompt": "%s"}\n' if "json" in name else b"%s\n"
    content = header + b"".join(row % each for each in (b"mug", b"caf\xe9", b"caf\xc3\xa9"))
    batch = read_batch(read_file(_write(tmp_path, name, content)), RECIPE)
    assert [prompt.text for prompt in batch.prompts] == ["mug", "café"]
    assert len(batch.rejected) == 1


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_prompts_come_out_of_jsonl_to_the_letter(tmp_path: Path, content: str) -> None:
    path = _write(tmp_path, "a.jsonl", json.dumps({"prompt": content}))
    assert next(iter(read_file(path))).columns["prompt"] == content


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.csv", "No such file"), ("a.xlsx", "must end in .csv"), ("folder.csv", "directory")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UnreadableFile, match=reason) as caught:
        list(read_file(tmp_path / name))
    assert name in str(caught.value)


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert list(read_file(_write(tmp_path, "a.csv", ""))) == []
    assert list(read_file(_write(tmp_path, "a.jsonl", ""))) == []
