"""Prompt sets: the built-in ones in the miniature's vocabulary, and a user's own file.

Knows how sets are read and which of their prompts are scored. The sets were written by
`training.sets`; this file needs no training code.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hierdiff_core.errors import EmptyPrompt, InvalidSetting, MissingColumn

FOLDER = Path(__file__).parent / "sets"
REPORT, DEVELOPMENT = "report", "development"
_TOLD = ("prompt", "held_out", "set")  # columns that are no attribute


@dataclass(frozen=True)
class Entry:
    """One prompt of a set."""

    text: str
    held_out: bool | None = None  # whether training never saw what it names; None: unknown
    attributes: Mapping[str, str] = field(default_factory=dict)  # that it names, where known


@dataclass(frozen=True)
class PromptSet:
    """Prompts that make one catalogue."""

    name: str
    title: str
    purpose: str  # REPORT: figures are told; DEVELOPMENT: defaults are chosen
    entries: tuple[Entry, ...]
    paper: str = ""  # the paper's set that it stands for
    paper_saving: float | None = None  # and what the paper saves there, share of evaluations

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts."""
        return tuple(entry.text for entry in self.entries)


def built_in_sets() -> tuple[PromptSet, ...]:
    """Return the sets that ship with the package, report sets first."""
    index = json.loads((FOLDER / "sets.json").read_text())
    return tuple(
        PromptSet(entries=_read_entries(FOLDER / f"{facts['name']}.csv"), **facts)
        for facts in index
    )


def read_sets(file: Path) -> tuple[PromptSet, ...]:
    """Return the sets of a CSV with a column `prompt` and, if there are several, a column `set`.

    A prompt that stands twice in a set counts once. Raises MissingColumn, EmptyPrompt.
    """
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.DictReader(opened)
        columns = list(reader.fieldnames or [])
        rows = list(reader)
    if "prompt" not in columns:
        raise MissingColumn(column="prompt", columns=", ".join(columns) or "no columns")
    sets: dict[str, dict[str, Entry]] = {}
    for number, row in enumerate(rows, start=2):
        entry = _entry(row)
        if not entry.text:
            raise EmptyPrompt(row=number)
        name = (row.get("set") or "").strip() or file.stem
        sets.setdefault(name, {}).setdefault(entry.text, entry)
    if not sets:
        raise InvalidSetting(setting="--prompts", value=str(file), hint="the file has no rows")
    return tuple(
        PromptSet(name, name, REPORT, tuple(entries.values())) for name, entries in sets.items()
    )


def choose_sets(sets: Sequence[PromptSet], names: Sequence[str]) -> tuple[PromptSet, ...]:
    """Return the sets of these names, all for no names; raises InvalidSetting."""
    known = {each.name: each for each in sets}
    for name in names:
        if name not in known:
            hint = f"use some of {', '.join(known)}"
            raise InvalidSetting(setting="--sets", value=name, hint=hint)
    return tuple(known[name] for name in names) if names else tuple(sets)


def sample(prompts: PromptSet, most: int, seed: int = 0) -> tuple[int, ...]:
    """Return the places of the prompts that are scored, ascending: all of a set that is small.

    Up to half of them are held-out ones, so that those have figures of their own in sets of which
    only a few are; the rest is drawn from the others. The same set gives the same sample.
    """
    if len(prompts) <= most:
        return tuple(range(len(prompts)))
    rng = np.random.default_rng([seed, len(prompts)])
    order = [int(each) for each in rng.permutation(len(prompts))]
    held_out = [each for each in order if prompts.entries[each].held_out]
    first = held_out if len(held_out) == len(prompts) else held_out[: most // 2]
    chosen = dict.fromkeys([*first[:most], *order])
    return tuple(sorted(list(chosen)[:most]))


def _read_entries(file: Path) -> tuple[Entry, ...]:
    with file.open(newline="", encoding="utf-8") as opened:
        return tuple(_entry(row) for row in csv.DictReader(opened))


def _entry(row: Mapping[str, str | None]) -> Entry:
    said = (row.get("held_out") or "").strip().lower()
    held_out = {"yes": True, "no": False}.get(said)
    attributes = {
        name: value
        for name, value in row.items()
        if isinstance(name, str) and name not in _TOLD and isinstance(value, str) and value
    }
    return Entry((row.get("prompt") or "").strip(), held_out, attributes)
