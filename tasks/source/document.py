"""JSON: one object a line, an array of objects, or an object of objects."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from tasks.errors import UnreadableFile
from tasks.source.limits import Limits
from tasks.source.lines import TOO_LONG, Lines, TextLine
from tasks.source.source_row import SourceRow

_BLANK = " \t\r\n"
_NO_OBJECT = "it is not a JSON object"


class _Object(dict[str, object]):
    """A JSON object that knows which of its names stand in it more than once."""

    repeated: frozenset[str] = frozenset()


def read_json_lines(text: TextIO, path: Path, limits: Limits) -> Iterator[SourceRow]:
    """Yield the objects of a file with one a line; of a whole document where it is one.

    Raises UnreadableFile.
    """
    lines = Lines(text, path, limits)
    first = next((line for line in lines if line.text.strip()), None)
    if first is None:
        return
    if _goes_on(first.text):
        yield from _read_whole(first.text + text.read(), path, limits)
        return
    lines.put_back([first])
    yield from map(_read_line, (line for line in lines if line.text.strip()))


def read_json(text: TextIO, path: Path, limits: Limits) -> Iterator[SourceRow]:
    """Yield the objects of a document, or of lines where it is not one; raises UnreadableFile."""
    return _read_whole(text.read(), path, limits)


def _read_whole(text: str, path: Path, limits: Limits) -> Iterator[SourceRow]:
    start = _skip(text, 0)
    if start == len(text):
        return
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        if text.startswith("[", start):
            yield from _read_elements(text, start + 1)
            return
        if text.lstrip().find("\n") < 0 or text.startswith(("{\n", "{\r"), start):
            raise UnreadableFile(path=path, reason=f"it is {_explain(error)}") from None
        end = start
    if _skip(text, end) < len(text):  # more than one value: one a line
        lines = Lines(io.StringIO(text, newline=""), path, limits)
        yield from map(_read_line, (line for line in lines if line.text.strip()))
    else:
        yield from _rows(value, path)


def _goes_on(line: str) -> bool:
    """Return whether a line is the start of a document that needs the next ones."""
    text = line.rstrip()
    try:
        _DECODER.raw_decode(text, _skip(text, 0))
    except (ValueError, RecursionError) as error:
        return isinstance(error, json.JSONDecodeError) and error.pos >= len(text)
    return False


def _rows(value: object, path: Path) -> Iterator[SourceRow]:
    if isinstance(value, _Object) and value.repeated:
        names = ", ".join(sorted(value.repeated))
        raise UnreadableFile(path=path, reason=f"it names {names} more than once")
    if isinstance(value, dict) and len(value) == 1:
        (only,) = value.values()
        value = only if isinstance(only, list) else value  # {"products": [...]}
    if isinstance(value, list):
        yield from (_row(number, each) for number, each in enumerate(value, start=1))
    elif isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        for number, (name, row) in enumerate(value.items(), start=1):
            named = row if "reference" in row else {"reference": name} | row
            yield SourceRow(number, named, repeated=row.repeated)
    else:
        yield _row(1, value)


def _read_elements(text: str, place: int) -> Iterator[SourceRow]:
    """Yield an array's elements one by one, up to where its text breaks."""
    number = 0
    while True:
        number += 1
        place = _skip(text, place, _BLANK + ",")
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, place) + 1
            fault = f"the JSON breaks in line {line}, and nothing after it can be read"
            yield SourceRow(number, fault=fault)
            return
        yield _row(number, value)


def _read_line(line: TextLine) -> SourceRow:
    if not line.whole:
        return SourceRow(line.number, fault=TOO_LONG)
    try:
        return _row(line.number, _DECODER.decode(line.text))
    except (ValueError, RecursionError) as error:
        return SourceRow(line.number, fault=f"the line is {_explain(error)}")


def _explain(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "JSON that nests too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error})"
    return "JSON with a number of thousands of digits"  # which Python refuses to read


def _row(number: int, value: object) -> SourceRow:
    if isinstance(value, _Object):
        return SourceRow(number, value, repeated=value.repeated)
    return SourceRow(number, fault=_NO_OBJECT)


def _skip(text: str, place: int, characters: str = _BLANK) -> int:
    while place < len(text) and text[place] in characters:
        place += 1
    return place


def _make_object(pairs: list[tuple[str, Any]]) -> Mapping[str, object]:
    made = _Object(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.repeated = frozenset(name for name in made if names.count(name) > 1)
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_make_object)
