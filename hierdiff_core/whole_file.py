"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, body: bytes) -> None:
    """Write a file atomically: readers, also after a crash, see the new content or the old."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.write_bytes(body)
    unfinished.replace(file)
