"""Cells: the values of a source row, as files, spreadsheets and databases write them."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from hierdiff_core.errors import WrongType
from hierdiff_core.printable import brief

# What databases, spreadsheets and pandas write where there is nothing.
_ABSENT = frozenset(
    [
        r"null",
        r"\n",
        r"nil",
        r"none",
        r"nan",
        r"nat",
        r"n/a",
        r"na",
        r"<na>",
        r"#n/a",
        r"#na",
        r"-",
        r"--",
        r"–",
        r"—",
        r"#ref!",
        r"#value!",
        r"#name?",
        r"#div/0!",
        r"#null!",
        r"#num!",
        r"#error!",
        r"#spill!",
        r"#calc!",
    ]
)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d{1,2}")  # three digits may be a group of thousands
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?", re.IGNORECASE)
_LETTER = re.compile(r"[^\W_]")
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_LONGEST = 100_000  # characters; no encoder reads as many, and to count their tokens takes long
_DIGITS = 40  # more than any size or seed has


def is_absent(value: object) -> bool:
    """Return whether a cell holds nothing: it is empty, blank or a mark such as NULL or #N/A."""
    if isinstance(value, str):
        text = value.strip().casefold()
        return not text or text in _ABSENT
    # Only what is not a number is unequal to itself.
    return value is None or (isinstance(value, float | Decimal) and value != value)


def has_letter(text: str) -> bool:
    """Return whether a text holds a letter or a digit of any script."""
    return _LETTER.search(text) is not None


def read_text(row: int, column: str, value: object) -> str:
    """Return a cell as the text that it is; raises WrongType."""
    if not isinstance(value, str):
        raise wrong(row, column, value, "text")
    if len(value) > _LONGEST:
        raise wrong(row, column, value, f"text of at most {_LONGEST:,} characters")
    # A database refuses a null, and UTF-8 cannot encode half of a surrogate pair.
    if _UNWRITABLE.search(value):
        raise wrong(row, column, value, "text without null or surrogate characters")
    return value


def read_name(row: int, column: str, value: object) -> str:
    """Return a cell as a name, which may be a number: 17.0 is 17; raises WrongType."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list | dict | bytes | bool):
        raise wrong(row, column, value, "text or a number")
    return read_text(row, column, str(value))


def read_number(row: int, column: str, value: object) -> float:
    """Return a cell as a finite number from 0; `4,5` is 4.5. Raises WrongType."""
    try:
        number = float(_read_decimal(value))
    except (ValueError, OverflowError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise wrong(row, column, value, "a number")
    if number < 0:
        raise wrong(row, column, value, "a number from 0")
    return number


def read_whole_number(row: int, column: str, value: object) -> int:
    """Return a cell as a whole number, to the last digit; 42.0 is 42. Raises WrongType."""
    try:
        # By way of a decimal, since a float would round a long seed.
        number = _read_decimal(value)
    except ValueError:
        number = Decimal("nan")
    # The size first: int() of 1e999999 never ends.
    if (
        not number.is_finite()
        or number.adjusted() > _DIGITS
        or number != number.to_integral_value()
    ):
        raise wrong(row, column, value, "a whole number")
    return int(number)


def wrong(row: int, column: str, value: object, wanted: str) -> WrongType:
    """Return the error of a cell that does not hold what its column is for."""
    return WrongType(row=row, column=column, value=brief(value), wanted=wanted)


def _read_decimal(value: object) -> Decimal:
    if isinstance(value, str):
        text = value.strip()
        if _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return Decimal(text)
    if isinstance(value, bool | bytes | list | dict | tuple):
        raise ValueError(value)
    try:
        # Types of other libraries, such as NumPy's, by their own conversion.
        known = value if isinstance(value, int | float | Decimal) else _plain(value)
        return Decimal(known)
    except (TypeError, InvalidOperation):
        raise ValueError(value) from None


def _plain(value: object) -> int | float:
    as_float = float(value)  # type: ignore[arg-type]
    as_int = int(value) if abs(as_float) < float("inf") else 0  # type: ignore[call-overload]
    return int(as_int) if as_int == value else as_float
