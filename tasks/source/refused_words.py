"""Refused words: prompts that hold one of them become no picture."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from hierdiff_core.prompt import Prompt
from tasks.errors import BadRow
from tasks.night_settings import SourceSettings
from tasks.source.limits import Limits
from tasks.source.stream import open_text


def open_refused_words(settings: SourceSettings, limits: Limits) -> Callable[[Prompt], None]:
    """Return a check that raises BadRow for a prompt with a refused word.

    A word counts where it stands whole, in any case and form of its letters; one of a script that
    is written without spaces counts anywhere. Raises UnreadableFile.
    """
    words = [*settings.refused_words.split(","), *_read_lines(settings.refused_words_file, limits)]
    patterns = [_pattern(word) for word in map(_plain, words) if word]
    if not patterns:
        return lambda prompt: None
    refused = re.compile("|".join(patterns))

    def check(prompt: Prompt) -> None:
        if found := refused.search(_plain(prompt.text)):
            raise BadRow(row=prompt.row, reason=f"its prompt has the refused word {found[0]!r}")

    return check


def _read_lines(file: Path | None, limits: Limits) -> Iterable[str]:
    """Return the words of a file, one a line; a line that begins with # is a remark."""
    if file is None:
        return ()
    with open_text(file, "", limits) as text:
        lines = [line.strip() for line in text]
    return [line for line in lines if not line.startswith("#")]


def _plain(text: str) -> str:
    """Return text as it is compared: no case, no width, no invisible characters between letters."""
    seen = (each for each in unicodedata.normalize("NFKC", text) if not _invisible(each))
    return " ".join("".join(seen).casefold().split())


def _pattern(word: str) -> str:
    before, after = ("" if _wide(end) else r"\w" for end in (word[0], word[-1]))
    start, stop = before and rf"(?<!{before})", after and rf"(?!{after})"
    return f"{start}{re.escape(word)}{stop}"


def _invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")
