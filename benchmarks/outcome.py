"""What a benchmark found: figures with their goals, tables, notes, and the raw measurements.

Knows how they are written as JSON and read back. Knows nothing of how they are measured or shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Cell = str | float | int | None


@dataclass(frozen=True)
class Goal:
    """What a figure should be; either bound may be left out."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        """Tell whether a value lies within the bounds."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


@dataclass(frozen=True)
class Figure:
    """One number that the page is read for."""

    name: str
    value: float
    form: str = ".3f"  # how it is shown, as `format` reads it
    unit: str = ""
    low: float | None = None  # least and greatest of what it is the median of
    high: float | None = None
    goal: Goal | None = None

    @property
    def hit(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        return None if self.goal is None else self.goal.met(self.value)


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    form: str = ""  # how its numbers are shown, as `format` reads it


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Plot:
    """Lines over one axis, drawn beside the tables."""

    title: str
    x: str  # names of the axes
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    logarithmic: bool = True  # of the x axis
    wanted: float | None = None  # a goal, drawn across


@dataclass(frozen=True)
class Outcome:
    """All that a benchmark found."""

    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()  # how it was measured, each a sentence
    skipped: str = ""  # why nothing was measured
    data: Mapping[str, Any] = field(default_factory=dict)  # raw measurements, JSON values

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values; whether each goal is met stands beside it."""
        fields = asdict(self)
        for each, figure in zip(fields["figures"], self.figures, strict=True):
            each["hit"] = figure.hit
        return fields

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> Outcome:
        """Return the outcome that `to_json` wrote."""
        return Outcome(
            figures=tuple(map(_figure, fields["figures"])),
            tables=tuple(
                Table(each["title"], tuple(Column(**c) for c in each["columns"]), each["rows"])
                for each in fields["tables"]
            ),
            plots=tuple(Plot(**each) for each in fields["plots"]),
            notes=tuple(fields["notes"]),
            skipped=fields["skipped"],
            data=fields["data"],
        )


def _figure(fields: Mapping[str, Any]) -> Figure:
    given = {name: value for name, value in fields.items() if name != "hit"}
    return Figure(**given | {"goal": Goal(**given["goal"]) if given["goal"] else None})
