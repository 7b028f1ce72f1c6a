"""No text moves a terminal's cursor, breaks a log's line or hides what it says."""

from __future__ import annotations

import pytest

from hierdiff_core.errors import InvalidSetting, MissingColumn
from hierdiff_core.printable import brief, printable, printable_line

ESCAPES = {
    "\x1b[31m": "\\x1b[31m",
    "\x00": "\\x00",
    "\r\n\t": "\\r\\n\\t",
    "\x7f\x85": "\\x7f\\x85",
    "\u2028\u2029": "\\u2028\\u2029",
    "\u202eevil": "\\u202eevil",
    "\u200b\ufeff": "\\u200b\\ufeff",
    "\udce9": "\\udce9",
    "\U000e0001": "\\U000e0001",
}


@pytest.mark.parametrize("text", ESCAPES)
def test_what_cannot_be_seen_is_written_as_its_escape(text: str) -> None:
    assert printable(text) == ESCAPES[text]
    printable(text).encode()


@pytest.mark.parametrize(
    "text", ["café", "茶", "👩‍👩‍👧", "مرحبا", "a\u00a0b", "می‌خواهم", "\\x1b", ""]
)
def test_what_can_be_seen_stays(text: str) -> None:
    assert printable(text) == text


def test_a_line_is_one_line_of_at_most_its_length() -> None:
    assert printable_line(" a\n b\t", 10) == "a b"
    assert printable_line("one two three", 11) == "one two ..."
    assert len(printable_line("x" * 10_000_000, 100)) <= 100
    assert len(printable_line("\x1b " * 10_000, 100)) <= 100


def test_a_long_value_is_quoted_by_its_start() -> None:
    assert brief("x" * 80) == "x" * 80
    assert brief("x" * 81) == "x" * 77 + "..."
    assert brief(42) == 42
    assert brief(10**5000) == "a number of thousands of digits"
    assert brief([1] * 100) == str([1] * 100)[:77] + "..."


def test_no_fact_of_an_error_breaks_its_line() -> None:
    columns = "\x1b[2J, \u202e" + "x" * 1_000_000
    for error in (
        MissingColumn(column="prompt\n", columns=columns),
        InvalidSetting(setting="S\r", value=columns, hint="use less"),
    ):
        assert str(error) == printable(str(error))
        assert len(str(error)) <= 2000
