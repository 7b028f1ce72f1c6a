"""Files: rows of tables, JSON and lists, each read by one strict reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from tasks.errors import UnreadableFile
from tasks.source.document import read_json, read_json_lines
from tasks.source.limits import Limits
from tasks.source.lines import Lines
from tasks.source.prompt_list import read_list
from tasks.source.source_row import SourceRow
from tasks.source.stream import STANDARD_INPUT, open_text
from tasks.source.table import read_table

_Reader = Callable[[TextIO, Path, Limits], Iterator[SourceRow]]


def read_file(
    path: Path, *, encoding: str = "", limits: Limits | None = None
) -> Iterator[SourceRow]:
    """Yield the rows of a file, or of standard input for `-`; raises UnreadableFile.

    What kind of file it is, its name says; of standard input, the first character. A row that
    cannot be parsed comes with a fault.
    """
    limits = limits or Limits()
    reader = _FORMATS.get(path.suffix.lower())
    if reader is None and path != STANDARD_INPUT:
        hint = "; save the sheet as CSV" if path.suffix.lower() in _SHEETS else ""
        reason = f"its name must end in {', '.join(_FORMATS)}{hint}"
        raise UnreadableFile(path=path, reason=reason)
    with open_text(path, encoding, limits) as text:
        yield from (reader or _read_piped)(text, path, limits)


def _read_csv(text: TextIO, path: Path, limits: Limits) -> Iterator[SourceRow]:
    return read_table(Lines(text, path, limits), path)


def _read_tsv(text: TextIO, path: Path, limits: Limits) -> Iterator[SourceRow]:
    return read_table(Lines(text, path, limits), path, usual="\t")


def _read_txt(text: TextIO, path: Path, limits: Limits) -> Iterator[SourceRow]:
    return read_list(Lines(text, path, limits), path)


def _read_piped(text: TextIO, path: Path, limits: Limits) -> Iterator[SourceRow]:
    start = text.read(1)
    text.seek(0)
    return (read_json if start in ("{", "[") else _read_csv)(text, path, limits)


_FORMATS: dict[str, _Reader] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": _read_txt,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
_SHEETS = (".xlsx", ".xls", ".ods")
