"""The built-in prompt sets, in the miniature's vocabulary: one for each kind of set in the paper.

`benchmarks.paper.write_sets` writes them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hierdiff_core.evaluation.prompt_sets import Entry, PromptSet, read_entry
from hierdiff_core.miniature import PROMPTS

FOLDER = Path(__file__).parent / "sets"
INDEX = "sets.json"
SHIPPED = "diverse-dev"  # the set that the package ships: the miniature is calibrated on it
REPORT, DEVELOPMENT = "report", "development"
_TOLD = ("prompt", "held_out")  # columns that are no attribute


@dataclass(frozen=True)
class PaperEntry(Entry):
    """One prompt of a set, and what it names."""

    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperSet(PromptSet):
    """Prompts that make one catalogue, and the paper's set that they stand for."""

    entries: tuple[PaperEntry, ...]
    purpose: str = REPORT  # REPORT: figures are told; DEVELOPMENT: defaults are chosen
    paper: str = ""  # the paper's set
    paper_saving: float | None = None  # and what the paper saves there, share of evaluations

    @property
    def development(self) -> bool:
        """Whether defaults are chosen from it, and nothing is claimed of it."""
        return self.purpose == DEVELOPMENT


def built_in_sets() -> tuple[PaperSet, ...]:
    """Return the sets, report sets first."""
    index = json.loads((FOLDER / INDEX).read_text())
    return tuple(
        PaperSet(entries=_read_entries(set_file(facts["name"])), **facts) for facts in index
    )


def set_file(name: str, folder: Path = FOLDER, shipped: Path = PROMPTS) -> Path:
    """Return where a set's prompts stand."""
    return shipped if name == SHIPPED else folder / f"{name}.csv"


def _read_entries(file: Path) -> tuple[PaperEntry, ...]:
    with file.open(newline="", encoding="utf-8") as opened:
        return tuple(_read_entry(row) for row in csv.DictReader(opened))


def _read_entry(row: Mapping[str, str]) -> PaperEntry:
    plain = read_entry(row)
    attributes = {name: value for name, value in row.items() if name not in _TOLD and value}
    return PaperEntry(plain.text, plain.held_out, attributes)
