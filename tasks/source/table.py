"""Tables: CSV and TSV, read strictly, so that no quote swallows a row.

In CSV a cell that begins with a quote must end with one. In TSV, which many tools write without any
quoting, a quote counts only where the whole cell is quoted, and is a character elsewhere.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from tasks.errors import UnreadableFile
from tasks.source.limits import LINE
from tasks.source.lines import TOO_LONG, Lines, TextLine
from tasks.source.source_row import SourceRow

SEPARATORS = ",;\t|"
_DIRECTIVE = "sep="  # by which a spreadsheet is told the separator
_ENDS = "\r\n"
_OPEN_QUOTE = "it opens a quote that never closes"
_BAD_QUOTE = "a quote in it is neither doubled nor at the end of its cell"

csv.field_size_limit(LINE)


@dataclass(frozen=True, slots=True)
class _Record:
    """Cells, and the lines that they were read from."""

    lines: tuple[TextLine, ...]
    cells: tuple[str, ...] = ()
    fault: str = ""


def read_table(lines: Lines, path: Path, usual: str = ",") -> Iterator[SourceRow]:
    """Yield the rows of a table with a header; raises UnreadableFile for a bad header.

    The separator is the one that the header holds most, `usual` where it holds none.
    """
    separator, header = _read_header(lines, path, usual)
    if not header:
        return
    names = Counter(name for name in header if name)
    table = _Table(
        lines, separator, header, frozenset(n for n, count in names.items() if count > 1)
    )
    yield from table.rows()


def _read_header(lines: Lines, path: Path, usual: str) -> tuple[str, tuple[str, ...]]:
    first = next((line for line in lines if line.text.strip()), None)
    if first is None:
        return usual, ()
    separator = ""
    if first.text.lower().startswith(_DIRECTIVE):
        separator = first.text[len(_DIRECTIVE) :].rstrip(_ENDS)
        first = next(lines, TextLine(first.number, ""))
    if len(separator) != 1:
        separator = _find_separator(first.text, usual)
    if not first.whole:
        raise UnreadableFile(path=path, reason=f"its header is {TOO_LONG.removeprefix('it is ')}")
    lines.put_back([first])
    record = _read_quoted(lines, separator)
    if record.fault:
        raise UnreadableFile(path=path, reason=f"its header: {record.fault}")
    return separator, tuple(name.strip() for name in record.cells)


def _find_separator(header: str, usual: str) -> str:
    plain = "".join(header.split('"')[::2])  # what is not quoted
    counts = {separator: plain.count(separator) for separator in (usual, *SEPARATORS)}
    most = max(counts, key=lambda separator: counts[separator])
    return most if counts[most] else usual


class _Table:
    """The rows below a header."""

    def __init__(
        self, lines: Lines, separator: str, header: Sequence[str], repeated: frozenset[str]
    ) -> None:
        self._lines, self._separator = lines, separator
        self._header, self._repeated = header, repeated
        self._broken = 0  # the line of a bad quote, until a row is whole again

    def rows(self) -> Iterator[SourceRow]:
        for line in self._lines:
            if not line.whole:
                yield SourceRow(line.number, fault=TOO_LONG)
                continue
            self._lines.put_back([line])
            row = self._row(self._record())
            if row is not None:
                yield row

    def _record(self) -> _Record:
        if self._separator != "\t":
            return self._checked(_read_quoted(self._lines, self._separator))
        return self._read_tabbed()

    def _row(self, record: _Record) -> SourceRow | None:
        number, cells = record.lines[0].number, record.cells
        fault = record.fault or self._fault(cells)
        if record.fault:
            self._broken = number
        elif not any(cells):
            return None
        elif not fault:
            self._broken = 0
        columns = dict(zip_longest(self._header, cells[: len(self._header)], fillvalue=""))
        return SourceRow(number, columns, fault, self._repeated)

    def _fault(self, cells: Sequence[str]) -> str:
        width = len(self._header)
        if len(cells) > width and any(cells[width:]):
            return f"it has {len(cells)} cells, the header has {width}"
        if self._broken and len(cells) < width:
            # Perhaps the rest of a cell whose quotes are wrong: no picture is made of that.
            after = f"after a quote that is wrong in line {self._broken}"
            return f"it has {len(cells)} of {width} cells, {after}"
        return ""

    def _checked(self, record: _Record) -> _Record:
        """Return a record, or a fault where the lines that it swallowed are rows themselves."""
        swallowed = record.lines[1:]
        if record.fault or not swallowed:
            return record
        rows = self._look_like_rows(swallowed)
        if not rows and len(record.cells) <= len(self._header):
            return record
        first, last = record.lines[0], record.lines[-1]
        fault = f"the quote that it opens ends in line {last.number} only"
        if rows:
            fault += ", and the lines between look like rows"
        # Two lines of two cells each may be one text with commas: nothing is drawn of those.
        if len(self._header) > 2 or len(swallowed) > 1:
            self._lines.put_back(swallowed)
            return _Record((first,), record.cells, fault)
        return _Record(record.lines, record.cells, fault)

    def _look_like_rows(self, lines: Sequence[TextLine]) -> bool:
        between = len(self._header) - 1
        return between > 0 and all(
            line.text.count(self._separator) == between for line in lines if line.text.strip()
        )

    def _read_tabbed(self) -> _Record:
        line = next(self._lines)
        literal = _Record((line,), tuple(map(_unquoted, line.text.rstrip(_ENDS).split("\t"))))
        open_end = literal.cells[-1].startswith('"')
        if '"' not in line.text or (len(literal.cells) == len(self._header) and not open_end):
            return literal
        # A quoted cell may hold tabs and lines, as spreadsheets write them.
        self._lines.put_back([line])
        quoted = _read_quoted(self._lines, "\t")
        rest = quoted.lines[1:]
        fits = not quoted.fault and len(quoted.cells) == len(self._header)
        if fits and not (rest and self._look_like_rows(rest)):
            return quoted
        self._lines.put_back(rest)
        return literal


def _unquoted(cell: str) -> str:
    inner = cell[1:-1].replace('""', "")
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner
    return cell[1:-1].replace('""', '"') if whole else cell


def _read_quoted(lines: Lines, separator: str) -> _Record:
    """Return the next record; where its quotes are wrong, its first line alone is used up."""
    taken: list[TextLine] = []
    reader = csv.reader(_take(lines, taken), delimiter=separator, strict=True)
    try:
        cells = tuple(next(reader, ()))
        return _Record(tuple(taken), cells)
    except csv.Error as error:
        lines.put_back(taken[1:])
        closed = len(taken) == 1 and "end of data" not in str(error)
        # Enough of its cells are read to name it by its reference.
        named = next(csv.reader([taken[0].text], delimiter=separator), [])
        return _Record((taken[0],), tuple(named), _BAD_QUOTE if closed else _OPEN_QUOTE)


def _take(lines: Lines, taken: list[TextLine]) -> Iterator[str]:
    """Yield lines for one record as long as they are within a row's length, and note them."""
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line.text)
        if size > LINE:
            return
        yield line.text
