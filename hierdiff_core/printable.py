"""Text on its way to a terminal or a log: no character of it moves the cursor or breaks a line."""

from __future__ import annotations

import textwrap
import unicodedata

# Controls, formats such as a change of the writing direction, halves of surrogate pairs.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # which emoji and several scripts are written with


def printable(text: str) -> str:
    """Return text with each unprintable character as its escape, such as `\\x1b`."""
    return "".join(each if _is_printable(each) else ascii(each)[1:-1] for each in text)


def printable_line(text: str, length: int) -> str:
    """Return text as one printable line, cut at `length` characters."""
    line = printable(" ".join(text[: 8 * length].split()))
    return line if len(line) <= length else textwrap.shorten(line, length, placeholder=" ...")


def brief(value: object, length: int = 80) -> object:
    """Return a value of a row as an error may quote it: itself, or the start of a long text."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return value if len(text) <= length else f"{text[: length - 3]}..."


def _is_printable(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in _UNPRINTABLE
