"""What a section of the page tells: sentences, tables, pictures, and the figures as JSON.

Knows how numbers are written; knows nothing of what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hierdiff_core.evaluation.bootstrap import Estimate
from hierdiff_core.evaluation.grid import Study
from hierdiff_core.evaluation.results import Results
from hierdiff_core.evaluation.unit import Job


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False  # shown only to those who ask

    def markdown(self) -> str:
        """Return the table as markdown; the first column is text, the others are figures."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [self.columns, rule, *self.rows]
        text = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        if self.folded:
            summary = f"<summary>{self.caption} ({len(self.rows):,} rows)</summary>"
            return f"<details>{summary}\n\n{text}\n\n</details>"
        return f"{self.caption}\n\n{text}" if self.caption else text


@dataclass(frozen=True)
class Told:
    """One section; pictures are drawn when they are wanted, by file name."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    figures: Mapping[str, object] = field(default_factory=dict)


AnyStudy = TypeVar("AnyStudy", bound=Study, contravariant=True)


class Section(Protocol[AnyStudy]):
    """One part of an evaluation: what it needs, and what it tells of it."""

    def jobs(self, study: AnyStudy) -> Sequence[Job]:
        """Return the work that the section reads."""
        ...

    def tell(self, study: AnyStudy, results: Results) -> Told:
        """Return what can be told by now; what is not measured yet is said to be missing."""
        ...


Sections = Mapping[str, Section[Any]]  # by name, in the order of the page


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as a percentage."""
    if value is None or math.isnan(value):
        return "–"
    return "never" if math.isinf(value) else f"{100 * value:.{digits}f} %"


def share(found: Estimate | None, digits: int = 0) -> str:
    """Return a share with its interval, in per cent."""
    if found is None:
        return "–"
    if math.isinf(found.value):
        return "never"
    low, high = (
        "never" if math.isinf(each) else f"{100 * each:.{digits}f}"
        for each in (found.low, found.high)
    )
    return f"{100 * found.value:.{digits}f} % [{low}, {high}]"


def score(found: Estimate | None) -> str:
    """Return a score with its interval."""
    return "–" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def number(value: float | None, digits: int = 1) -> str:
    """Return a number, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
