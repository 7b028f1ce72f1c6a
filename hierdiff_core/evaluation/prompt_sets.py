"""Prompt sets: reading them, and sampling the prompts that are scored."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from hierdiff_core.errors import EmptyPrompt, InvalidSetting, MissingColumn


@dataclass(frozen=True)
class Entry:
    """One prompt of a set."""

    text: str
    held_out: bool | None = None  # whether training never saw what it names; None: unknown


@dataclass(frozen=True)
class PromptSet:
    """Prompts that make one catalogue."""

    name: str
    title: str
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts."""
        return tuple(entry.text for entry in self.entries)


def read_sets(file: Path) -> tuple[PromptSet, ...]:
    """Return the sets of a CSV with a column `prompt` and, if there are several, a column `set`.

    A column `held_out` holds `yes` or `no`. A repeated prompt of a set counts once. Raises
    MissingColumn, EmptyPrompt, and InvalidSetting for a file without rows.
    """
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.DictReader(opened)
        columns = list(reader.fieldnames or [])
        rows = list(reader)
    if "prompt" not in columns:
        raise MissingColumn(column="prompt", columns=", ".join(columns) or "no columns")
    sets: dict[str, dict[str, Entry]] = {}
    for number, row in enumerate(rows, start=2):
        entry = read_entry(row)
        if not entry.text:
            raise EmptyPrompt(row=number)
        name = (row.get("set") or "").strip() or file.stem
        sets.setdefault(name, {}).setdefault(entry.text, entry)
    if not sets:
        raise InvalidSetting(setting="--prompts", value=str(file), hint="the file has no rows")
    return tuple(PromptSet(name, name, tuple(entries.values())) for name, entries in sets.items())


Set = TypeVar("Set", bound=PromptSet)


def choose_sets(sets: Sequence[Set], names: Sequence[str]) -> tuple[Set, ...]:
    """Return the sets of these names, all for no names; raises InvalidSetting."""
    known = {each.name: each for each in sets}
    for name in names:
        if name not in known:
            hint = f"use some of {', '.join(known)}"
            raise InvalidSetting(setting="--sets", value=name, hint=hint)
    return tuple(known[name] for name in names) if names else tuple(sets)


def sample(prompts: PromptSet, most: int, seed: int = 0) -> tuple[int, ...]:
    """Return the places of the prompts that are scored, ascending: all prompts of a small set.

    At least half of them are held-out prompts where there are enough, so that these have figures of
    their own in a set that has few; the rest is drawn at random. The same set gives the same
    sample.
    """
    if len(prompts) <= most:
        return tuple(range(len(prompts)))
    rng = np.random.default_rng([seed, len(prompts)])
    order = [int(each) for each in rng.permutation(len(prompts))]
    held_out = [each for each in order if prompts.entries[each].held_out]
    first = held_out if len(held_out) == len(prompts) else held_out[: most // 2]
    chosen = dict.fromkeys([*first[:most], *order])
    return tuple(sorted(list(chosen)[:most]))


def read_entry(row: Mapping[str, str | None]) -> Entry:
    """Return the entry of a row by column."""
    answer = (row.get("held_out") or "").strip().lower()
    held_out = {"yes": True, "no": False}.get(answer)
    return Entry((row.get("prompt") or "").strip(), held_out)
