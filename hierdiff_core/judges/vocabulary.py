"""Which attributes a sentence names, by the words and synonyms in the JSON file beside a judge's
weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hierdiff_core.errors import InvalidSetting, UnknownModel

Synonyms = Mapping[str, tuple[str, ...]]  # of each value of one attribute


@dataclass(frozen=True)
class Vocabulary:
    """For each attribute its values in the order of the judge's outputs, with their synonyms."""

    axes: Mapping[str, Synonyms]

    def read(self, prompt: str) -> dict[str, int]:
        """Return the attributes that the prompt names, each with the position of its value.

        Longest match first: in "on a wooden table" nothing is left for "table". Raises
        InvalidSetting where no attribute is named, or one has two values: no score would mean
        anything.
        """
        found: dict[str, int] = {}
        rest = " ".join(prompt.lower().split())
        for phrase, axis, value in self._phrases:
            if not phrase.search(rest):
                continue
            rest = phrase.sub("|", rest)  # a bar, so that the words on both sides stay apart
            if found.setdefault(axis, value) != value:
                raise InvalidSetting(setting="prompt", value=prompt, hint=self._twice(axis))
        if not found:
            hint = f"it names no {', '.join(self.axes)} that this judge knows; use another judge"
            raise InvalidSetting(setting="prompt", value=prompt, hint=hint)
        return {axis: found[axis] for axis in self.axes if axis in found}

    def _twice(self, axis: str) -> str:
        return f"it names more than one {axis}, and this judge expects one; use another judge"

    @cached_property
    def _phrases(self) -> list[tuple[re.Pattern[str], str, int]]:
        known = [
            (words.lower(), axis, position)
            for axis, values in self.axes.items()
            for position, (value, synonyms) in enumerate(values.items())
            for words in {value, *synonyms}
        ]
        known.sort(key=lambda each: (-len(each[0]), each))
        return [(_whole(words), axis, position) for words, axis, position in known]


def load_vocabulary(path: Path) -> Vocabulary:
    """Read {attribute: {value: [synonym, ...]}}; raises UnknownModel."""
    try:
        axes = json.loads(path.read_bytes())
        return Vocabulary(
            {
                axis: {value: tuple(synonyms) for value, synonyms in values.items()}
                for axis, values in axes.items()
            }
        )
    except (OSError, ValueError, AttributeError, TypeError):
        hint = f"{path.name} is missing or damaged; name a folder that a judge was saved to"
        raise UnknownModel(model=str(path.parent), hint=hint) from None


def save_vocabulary(vocabulary: Vocabulary, path: Path) -> None:
    """Write the file that `load_vocabulary` reads."""
    axes = {
        axis: {value: list(synonyms) for value, synonyms in values.items()}
        for axis, values in vocabulary.axes.items()
    }
    path.write_text(json.dumps(axes, indent=2) + "\n")


def _whole(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")
