"""Lists: a text file with one prompt a line, plain or with options as web interfaces read them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from tasks.source.lines import TOO_LONG, Lines, TextLine
from tasks.source.source_row import SourceRow
from tasks.source.table import read_table

_OPTION = "--"  # --prompt "a green mug" --width 64


def read_list(lines: Lines, path: Path) -> Iterator[SourceRow]:
    """Yield the prompts of a list; the rows of a table where the first line holds tabs."""
    first = next((line for line in lines if line.text.strip()), None)
    if first is None:
        return
    lines.put_back([first])
    if "\t" in first.text.strip():
        yield from read_table(lines, path, usual="\t")
        return
    yield from map(_read_line, (line for line in lines if line.text.strip()))


def _read_line(line: TextLine) -> SourceRow:
    if not line.whole:
        return SourceRow(line.number, fault=TOO_LONG)
    text = line.text.strip()
    if not text.startswith(_OPTION):
        return SourceRow(line.number, {"prompt": text})
    try:
        words = shlex.split(text)
    except ValueError:
        return SourceRow(line.number, fault="it opens a quote that never closes")
    names, values = words[::2], words[1::2]
    wrong = next((name for name in names if not name.startswith(_OPTION)), "")
    if wrong or len(names) > len(values):
        fault = f"{wrong or names[-1]!r} is no option with a value, such as --seed 5"
        return SourceRow(line.number, fault=fault)
    bare = [name.removeprefix(_OPTION) for name in names]
    repeated = frozenset(name for name in bare if bare.count(name) > 1)
    return SourceRow(line.number, dict(zip(bare, values, strict=True)), repeated=repeated)
