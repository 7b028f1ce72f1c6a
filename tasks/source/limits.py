"""Limits of a source: what is longer, larger or slower is refused and never waited for."""

from __future__ import annotations

from dataclasses import dataclass

LINE = 1_000_000  # characters of a line, and of a row that takes several


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one source may take at most."""

    megabytes: int = 1000
    seconds: float = 300.0
    rows: int = 1_000_000
