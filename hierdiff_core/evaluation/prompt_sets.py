"""Prompt sets: reading them, and sampling the prompts that are scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hierdiff_core.cell import is_absent, read_text
from hierdiff_core.errors import EmptyPrompt, InvalidSetting
from hierdiff_core.prompt import missing_column


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


def read_sets(rows: Iterable[tuple[int, Mapping[str, object]]], name: str) -> tuple[PromptSet, ...]:
    """Return the sets of numbered rows with a column `prompt` and, for several, a column `set`.

    A set without a name is called `name`. A column `held_out` holds `yes` or `no`. A repeated
    prompt of a set counts once. Raises MissingColumn, EmptyPrompt, WrongType, and InvalidSetting
    where there are no rows.
    """
    sets: dict[str, dict[str, Entry]] = {}
    for number, row in rows:
        if "prompt" not in row:
            raise missing_column("prompt", row)
        cells = {key: "" if is_absent(each) else str(each) for key, each in row.items()}
        entry = read_entry(cells)
        if not entry.text:
            raise EmptyPrompt(row=number)
        read_text(number, "prompt", entry.text)
        own = cells.get("set", "").strip() or name
        sets.setdefault(own, {}).setdefault(entry.text, entry)
    if not sets:
        raise InvalidSetting(setting="--prompts", value=name, hint="the file has no rows")
    return tuple(PromptSet(each, each, tuple(entries.values())) for each, entries in sets.items())


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
