"""Two sides measured side by side, so that a machine that slows down slows both.

Knows turns, medians and spreads; knows nothing of what the sides do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Seconds = Mapping[str, float]  # of one measurement, by what was timed
Side = Callable[[], Seconds]


@dataclass(frozen=True)
class Spread:
    """The median of several measurements, with the least and the greatest."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return median(self.values)

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest."""
        return max(self.values)


@dataclass(frozen=True)
class Laps:
    """Seconds of each side, lap by lap."""

    laps: tuple[Mapping[str, Seconds], ...]

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides, in the order in which they were named."""
        return tuple(self.laps[0])

    def seconds(self, side: str, timed: str) -> Spread:
        """Return the seconds of one side."""
        return Spread(tuple(lap[side][timed] for lap in self.laps))

    def ratio(self, over: str, under: str, timed: str) -> Spread:
        """Return seconds of one side over those of the other, a ratio for each lap."""
        return Spread(tuple(lap[over][timed] / lap[under][timed] for lap in self.laps))

    def to_json(self) -> list[dict[str, dict[str, float]]]:
        """Return the laps as JSON values."""
        return [{side: dict(timed) for side, timed in lap.items()} for lap in self.laps]


def alternate(
    sides: Mapping[str, Side], laps: int, say: Callable[[str], None] = lambda line: None
) -> Laps:
    """Measure every side once a lap, each lap starting with another side."""
    names, found = list(sides), []
    for lap in range(laps):
        order = rotated(names, lap)
        found.append({name: sides[name]() for name in order})
        said = ", ".join(f"{name} {sum_up(found[-1][name])}" for name in names)
        say(f"lap {lap + 1} of {laps}: {said}")
    return Laps(tuple(found))


def rotated(names: Sequence[str], by: int) -> list[str]:
    """Return the names with others in front each time."""
    cut = by % len(names)
    return [*names[cut:], *names[:cut]]


def sum_up(seconds: Seconds) -> str:
    """Return seconds as a line is shown."""
    return " ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
