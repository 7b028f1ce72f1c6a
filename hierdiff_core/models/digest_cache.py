"""Digests of files, cached in a file: gigabytes of weights are read once, not by every process.

A file is recognised by its path, size, modification time and inode. The cache is a convenience:
damaged or unwritable, it counts as empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from hierdiff_core.whole_file import write_whole


def file_digests(paths: Iterable[Path], memory: Path | None = None) -> dict[Path, str]:
    """Return each file's SHA-256, from the cache file `memory` where the file has not changed."""
    known = _read(memory) if memory is not None else {}
    found = {path: _known_digest(path, known) for path in paths}
    made = {path: digest or _digest(path) for path, digest in found.items()}
    if memory is not None and None in found.values():
        _write(memory, known | {str(path.resolve()): [*_mark(path), made[path]] for path in made})
    return made


def _known_digest(path: Path, known: dict[str, list[object]]) -> str | None:
    *mark, digest = known.get(str(path.resolve()), [None])
    return str(digest) if mark == _mark(path) else None


def _mark(path: Path) -> list[object]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(memory: Path) -> dict[str, list[object]]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memory.read_bytes())
        if isinstance(known, dict) and all(
            isinstance(each, list) and each for each in known.values()
        ):
            return known
    return {}


def _write(memory: Path, known: dict[str, list[object]]) -> None:
    with contextlib.suppress(OSError):
        write_whole(memory, json.dumps(known).encode())
