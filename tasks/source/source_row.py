"""A row as its source holds it, whatever kind of source that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of a source, or why it could not be parsed."""

    number: int  # a query's rows and a file's lines count from 1, so a CSV's first row is 2
    columns: Mapping[str, object] = field(default_factory=dict)
    fault: str = ""
    repeated: frozenset[str] = frozenset()  # names that stand more than once in its header
