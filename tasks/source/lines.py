"""Lines: numbered, of a limited length, read one by one, and put back where a row is read anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tasks.errors import UnreadableFile
from tasks.source.limits import LINE, Allowance, Limits

TOO_LONG = f"it is longer than {LINE:,} characters"


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of a file, with its end."""

    number: int  # from 1
    text: str
    whole: bool = True  # False: it was too long, and `text` is its start


class Lines:
    """The lines of a text, an iterator; raises UnreadableFile where they take too long."""

    def __init__(self, text: TextIO, path: Path, limits: Limits) -> None:
        self._text, self._path, self._patience = text, path, Allowance(limits)
        self._number = 0
        self._waiting: deque[TextLine] = deque()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> TextLine:
        if self._waiting:
            return self._waiting.popleft()
        self._patience.start()
        text = self._text.readline(LINE + 1)
        self._patience.stop()
        if self._patience.is_over:
            raise UnreadableFile(path=self._path, reason=self._patience.reason)
        if not text:
            raise StopIteration
        self._number += 1
        whole = len(text) <= LINE
        rest = "" if whole else text
        while rest and not rest.endswith(("\n", "\r")):
            rest = self._text.readline(LINE)
        return TextLine(self._number, text, whole)

    def put_back(self, lines: Sequence[TextLine]) -> None:
        """Have lines come again, before all others."""
        self._waiting.extendleft(reversed(lines))
