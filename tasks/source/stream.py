"""Opening: a regular file or standard input as text, of a limited size.

A pipe without a writer, a device without an end and a folder are refused before a byte is read.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from tasks.errors import UnreadableFile
from tasks.source.limits import Allowance, Limits

STANDARD_INPUT = Path("-")

_HEAD = 4096  # bytes from which the encoding is found
_CHUNK = 1 << 16
_IN_MEMORY = 16 << 20  # bytes of standard input that are kept without a file
_MARKS = {  # the longer ones first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BINARY = {
    b"PK\x03\x04": "a spreadsheet or an archive; save it as CSV",
    b"\x1f\x8b": "compressed; unpack it first",
    b"PAR1": "Parquet; save it as CSV",
    b"SQLite format 3": "an SQLite database; set HIERDIFF_SOURCE_URL and HIERDIFF_SOURCE_QUERY",
}


@contextmanager
def open_text(path: Path, encoding: str, limits: Limits) -> Iterator[TextIO]:
    """Yield the text of a file, or of standard input for `-`; raises UnreadableFile.

    A byte-order mark prevails over `encoding`, which is UTF-8 where it is empty. Bytes that it does
    not have become surrogates, which cost their own row and no other.
    """
    try:
        with _open_bytes(path, limits) as opened:
            found = _find_encoding(path, opened.read(_HEAD)) or encoding or "utf-8"
            opened.seek(0)
            # newline="": a line's end inside a quoted cell is the cell's own.
            with io.TextIOWrapper(opened, found, errors="surrogateescape", newline="") as text:
                yield text
    except OSError as error:
        raise UnreadableFile(path=path, reason=error.strerror or "it cannot be opened") from None
    except UnicodeError:
        raise UnreadableFile(path=path, reason=f"it is not {found}") from None


def check_encoding(name: str) -> str:
    """Return the name of an encoding of text; raises ValueError with a hint."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError("there is no such encoding; use one such as cp1252 or utf-16") from None
    return name


def _open_bytes(path: Path, limits: Limits) -> BinaryIO:
    if path == STANDARD_INPUT:
        return _read_standard_input(limits)
    # Without waiting: to open a pipe is to wait for its writer.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    facts = os.fstat(number)
    refused = _refusal(facts, limits)
    if refused:
        os.close(number)
        raise UnreadableFile(path=path, reason=refused)
    return os.fdopen(number, "rb")


def _refusal(facts: os.stat_result, limits: Limits) -> str:
    if stat.S_ISDIR(facts.st_mode):
        return "it is a directory"
    if not stat.S_ISREG(facts.st_mode):
        return "it is no regular file; write - and pipe the rows into the command"
    if facts.st_size > limits.megabytes * 1_000_000:
        return _too_large(limits)
    return ""


def _too_large(limits: Limits) -> str:
    return f"it has more than {limits.megabytes} MB; raise HIERDIFF_SOURCE_MEGABYTES"


def _read_standard_input(limits: Limits) -> BinaryIO:
    """Return what standard input holds until it ends, read before a night is touched."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UnreadableFile(path="-", reason="nothing is piped into the command")
    kept = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (the caller closes it)
    try:
        for chunk in _chunks(sys.stdin.fileno(), limits):
            kept.write(chunk)
    except BaseException:
        kept.close()
        raise
    kept.seek(0)
    return cast("BinaryIO", kept)


def _chunks(number: int, limits: Limits) -> Iterator[bytes]:
    """Yield what a file descriptor brings until it ends; raises UnreadableFile."""
    size, allowance = 0, Allowance(limits)
    while True:
        ready, _, _ = select.select([number], [], [], allowance.start())
        allowance.stop()
        if not ready:
            raise UnreadableFile(path="-", reason=allowance.reason)
        chunk = os.read(number, _CHUNK)
        size += len(chunk)
        if size > limits.megabytes * 1_000_000:
            raise UnreadableFile(path="-", reason=_too_large(limits))
        if not chunk:
            return
        yield chunk


def _find_encoding(path: Path, head: bytes) -> str:
    """Return the encoding that the first bytes show; empty where they show none."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    for mark, kind in _BINARY.items():
        if head.startswith(mark):
            raise UnreadableFile(path=path, reason=f"it is {kind}")
    # Text of Western scripts in UTF-16 has a null in every second byte.
    for encoding, nulls, letters in (
        ("utf-16-le", head[1::2], head[0::2]),
        ("utf-16-be", head[0::2], head[1::2]),
    ):
        if len(head) > 3 and nulls.count(0) > 0.9 * len(nulls) and not letters.count(0):
            return encoding
    return ""
