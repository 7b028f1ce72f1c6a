"""Columns: which of a source's columns are the ones that a prompt is read from.

Names count without regard to case and blanks. A name that is nearly one of ours is taken where it
can mean that one only; where it cannot, a note names it, so that nothing is dropped in silence.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches

from hierdiff_core.cell import is_absent
from hierdiff_core.prompt import COLUMNS, list_columns, missing_column
from tasks.errors import BadRow, RepeatedColumn, UnknownColumn
from tasks.source.source_row import SourceRow
from tasks.source.template import Template

# Other programs' words for ours.
_ALIASES = {
    "cfg_scale": "guidance",
    "cfg": "guidance",
    "guidance_scale": "guidance",
    "negative": "negative_prompt",
}
_SURE = 0.85  # likeness from which a long name is a misspelling
_EXACT = ("variants",)  # shops have a Variant SKU, a Variant Price and more that are none of ours
_NEAR = 0.75  # likeness from which a name is worth a note
_LONG = 6  # letters from which a name can be misspelt and still be no other word
_KEPT = 1000  # headers and names that are remembered
_NIGHTS = frozenset(("steps", "solver", "dtype", "initial_noise"))  # fields of a recipe, of no row


def fold(name: str) -> str:
    """Return a column's name without regard to case, blanks and the like: `Negative Prompt `."""
    seen = (each for each in name if unicodedata.category(each) != "Cf")  # no mark of a byte order
    plain = unicodedata.normalize("NFKC", "".join(seen)).casefold()
    return re.sub(r"[\s_-]+", "_", plain.strip()).strip("_")


def read_mapping(given: object) -> dict[str, str]:
    """Return a mapping from our columns to theirs, also from text: `prompt=title, reference=id`.

    Names with a comma are written in JSON. Raises ValueError with a hint.
    """
    if isinstance(given, str):
        given = _read_json(given) if given.strip().startswith("{") else _read_pairs(given)
    if not isinstance(given, Mapping):
        raise ValueError("write it as prompt=title, reference=id")
    for ours in given:
        if ours not in COLUMNS:
            raise ValueError(f"{ours!r} is no column of a prompt; use {', '.join(COLUMNS)}")
    return {str(ours): str(theirs) for ours, theirs in given.items()}


def _read_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_pairs(text: str) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for pair in filter(str.strip, text.split(",")):
        ours, equals, theirs = (each.strip() for each in pair.partition("="))
        if not (ours and equals and theirs):
            raise ValueError(f"{pair.strip()!r} is not of the form prompt=title")
        if ours in mapping:
            raise ValueError(f"it says twice what {ours} is")
        mapping[ours] = theirs
    return mapping


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the names of one header mean."""

    ours: Mapping[str, str]  # our name: theirs
    places: Mapping[str, str]  # the template's name: theirs
    notes: tuple[str, ...]


@dataclass
class Columns:
    """Reads rows by our names, as a mapping and a template say; notes what it saw."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    template: Template | None = None
    notes: dict[str, None] = field(default_factory=dict)  # in the order of their first rows
    _choices: dict[tuple[str, ...], _Choice] = field(default_factory=dict)  # by header
    _found: set[str] = field(default_factory=set)  # of the names that are asked for
    _names: dict[str, None] = field(default_factory=dict)  # of the source, the first ones

    def find(self, row: SourceRow) -> dict[str, object]:
        """Return a row's cells by our names; raises MissingColumn, RepeatedColumn."""
        choice = self._choose(tuple(row.columns))
        for theirs in (*choice.ours.values(), *choice.places.values()):
            if theirs in row.repeated:
                raise RepeatedColumn(column=theirs, names=theirs)
        if self.template is None and "prompt" not in choice.ours:
            raise missing_column("prompt", row.columns)
        return {ours: row.columns[theirs] for ours, theirs in choice.ours.items()}

    def fill(self, row: SourceRow) -> dict[str, object]:
        """Return the prompt of the template, nothing without one; raises BadRow."""
        if self.template is None:
            return {}
        places, filled = self._choose(tuple(row.columns)).places, list(self.template.pieces)
        for index, place in enumerate(self.template.pieces[1::2]):
            text = _text(row.columns[places[place]]) if place in places else ""
            if not text:
                reason = f"it has no {place!r}, which the template needs"
                raise BadRow(row=row.number, reason=reason)
            filled[2 * index + 1] = text
        return {"prompt": "".join(filled)}

    def check(self) -> None:
        """Raise UnknownColumn for a name of the mapping or the template that no row has."""
        places = self.template.places if self.template else ()
        for asker, asked in (("mapping", self.mapping.values()), ("template", places)):
            for name in asked:
                if self._names and name not in self._found:
                    raise _unknown(name, asker, self._names)

    def _choose(self, names: tuple[str, ...]) -> _Choice:
        choice = self._choices.get(names)
        if choice is None:
            choice = self._read_header(names)
            if len(self._choices) == _KEPT:  # objects of which each has other names
                self._choices.clear()
            self._choices[names] = choice
            room = _KEPT - len(self._names)
            self._names |= dict.fromkeys(names[:room])
            self.notes |= dict.fromkeys(choice.notes[: max(_KEPT - len(self.notes), 0)])
        return choice

    def _read_header(self, names: tuple[str, ...]) -> _Choice:
        mapped = {ours: find_column(theirs, names) for ours, theirs in self.mapping.items()}
        ours = {name: theirs for name, theirs in mapped.items() if theirs}
        self._found |= {self.mapping[name] for name in ours}
        wanted = [name for name in COLUMNS if name not in self.mapping]
        if self.template is not None and "prompt" in wanted:
            wanted.remove("prompt")
        places = self.template.places if self.template else ()
        found = {place: find_column(place, names) for place in places}
        used = {*ours.values(), *filter(None, found.values())}
        ours |= _find_ours(wanted, [name for name in names if name not in used])
        free = [name for name in names if name not in used and name not in ours.values()]
        near, notes = _find_near([name for name in wanted if name not in ours], free, wanted)
        places_found = {place: theirs for place, theirs in found.items() if theirs}
        self._found |= places_found.keys()
        return _Choice(ours | near, places_found, notes)


def find_column(name: str, names: Iterable[str]) -> str | None:
    """Return the column of a name: exactly that one, else the one that is equal when folded.

    Raises RepeatedColumn where several are.
    """
    names = list(names)
    if name in names:
        return name
    folded = [each for each in names if fold(each) == fold(name)]
    if len(folded) > 1:
        raise RepeatedColumn(column=name, names=" and ".join(folded))
    return folded[0] if folded else None


def _find_ours(wanted: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    folded = [(fold(name), name) for name in names]
    for ours in wanted:
        theirs = [name for plain, name in folded if plain == ours]
        if len(theirs) > 1:
            raise RepeatedColumn(column=ours, names=" and ".join(theirs))
        if theirs:
            found[ours] = theirs[0]
    return found


def _find_near(
    missing: Sequence[str], free: Sequence[str], wanted: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the free names that can only mean a missing column, and notes on others like ours."""
    found, notes = {}, []
    meant = {name: _meaning(name, wanted) for name in free}
    sure = Counter(ours for name, ours in meant.items() if ours and _is_sure(name, ours))
    for name, ours in meant.items():
        if ours in missing and sure[ours] == 1 and _is_sure(name, ours):
            found[ours] = name
        elif ours:
            notes.append(
                f"Column {name!r} is not read; if it is meant, say --column {ours}={name}."
            )
        elif fold(name) in _NIGHTS:
            notes.append(f"Column {name!r} is not read: it is one setting for the whole night.")
    return found, tuple(notes)


def _meaning(name: str, wanted: Sequence[str]) -> str:
    """Return which of our columns a name is like; empty for none."""
    folded = fold(name)
    alias = _ALIASES.get(folded, "")
    if alias in wanted:
        return alias
    near = [
        ours
        for ours in wanted
        if ours not in _EXACT and ours[:1] == folded[:1] and _likeness(folded, ours) >= _NEAR
    ]
    return max(near, key=lambda ours: _likeness(folded, ours), default="")


def _is_sure(name: str, ours: str) -> bool:
    # A short word that is nearly ours is often another one: speed, with.
    folded = fold(name)
    likeness = _likeness(folded, ours)
    return folded in _ALIASES or likeness == 1.0 or (len(ours) >= _LONG and likeness >= _SURE)


def _likeness(one: str, other: str) -> float:
    if sorted(one) == sorted(other):
        return 1.0
    return SequenceMatcher(None, one, other, autojunk=False).ratio() if len(one) < 99 else 0.0


def _text(value: object) -> str:
    """Return a cell as it stands in a prompt, a list's items with commas between."""
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        return ", ".join(map(str, value))
    return "" if is_absent(value) or isinstance(value, list | dict) else str(value).strip()


def _unknown(name: str, asker: str, names: Iterable[str]) -> UnknownColumn:
    near = get_close_matches(name, list(names), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {list_columns(names)}."
    return UnknownColumn(column=name, asker=asker, hint=hint)
