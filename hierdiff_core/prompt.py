"""Prompts: which are equal, which may share an embedding, and how a source row becomes one."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from hierdiff_core.digest import digest
from hierdiff_core.errors import EmptyPrompt, InvalidSetting, MissingColumn, WrongType
from hierdiff_core.recipe import Recipe, recipe_facts, text_facts


@dataclass(frozen=True, slots=True)
class Prompt:
    """One requested picture."""

    row: int  # its row in the source, from 1
    reference: str  # the user's own name for it, such as an article number
    text: str
    recipe: Recipe


def content_key(prompt: Prompt) -> str:
    """Return the key of the picture: prompts with equal keys get one leaf and one picture."""
    return digest("prompt", _normal(prompt.text), recipe_facts(prompt.recipe))


def embedding_key(prompt: Prompt) -> str:
    """Return the key of a prompt's embedding: its text and the text side's part of the recipe.

    Runs that differ only in the picture side find each other's embeddings.
    """
    return digest("embedding", _normal(prompt.text), *text_facts(prompt.recipe))


def negative_key(recipe: Recipe) -> str:
    """Return the key of the negative conditioning, one for all prompts of a recipe."""
    stand_in = Prompt(0, "", recipe.negative_prompt, recipe)
    return digest("negative", embedding_key(stand_in))


def read_prompt(row: int, columns: Mapping[str, object], recipe: Recipe) -> Prompt:
    """Return the prompt of one source row.

    Column `prompt` is required; `reference`, `negative_prompt`, `guidance`, `width`, `height` and
    `seed` are optional and override the recipe. An empty optional column counts as absent.
    Raises MissingColumn, EmptyPrompt, WrongType, InvalidSetting.
    """
    if "prompt" not in columns:
        raise MissingColumn(column="prompt", columns=", ".join(columns) or "no columns")
    if columns["prompt"] is None or not str(columns["prompt"]).strip():
        raise EmptyPrompt(row=row)
    text = _read_text(row, "prompt", columns["prompt"])
    given = {name: columns[name] for name in _READERS if columns.get(name) not in (None, "")}
    overrides = {name: _READERS[name](row, name, value) for name, value in given.items()}
    named = columns.get("reference") not in (None, "")
    reference = _read_text(row, "reference", str(columns["reference"] if named else row))
    try:
        changed = dataclasses.replace(recipe, **overrides)  # type: ignore[arg-type]
    except InvalidSetting as error:
        raise refuse_column(row, error) from None
    return Prompt(row, reference, text, changed)


def refuse_column(row: int, error: InvalidSetting) -> WrongType:
    """Return the error of a setting as the error of the column that set it, naming the row."""
    column, wanted = error.facts["setting"], str(error.facts["hint"]).removeprefix("use ")
    return WrongType(row=row, column=column, value=error.facts["value"], wanted=wanted)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _read_text(row: int, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise WrongType(row=row, column=column, value=value, wanted="text")
    # A database refuses a null, and UTF-8 cannot encode half of a surrogate pair.
    if _UNWRITABLE.search(value):
        raise WrongType(
            row=row, column=column, value=value, wanted="text without null or surrogate characters"
        )
    return value


def _read_number(row: int, column: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not abs(number) < float("inf"):
        raise WrongType(row=row, column=column, value=value, wanted="a number")
    return number


def _read_whole_number(row: int, column: str, value: object) -> int:
    try:
        # Directly to int, since a float would round a long seed given as text or a decimal.
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        number = None
    whole = number is not None and (isinstance(value, str) or number == value)
    if isinstance(value, bool) or not whole:
        raise WrongType(row=row, column=column, value=value, wanted="a whole number")
    return int(number)


_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_READERS = {
    "negative_prompt": _read_text,
    "guidance": _read_number,
    "width": _read_whole_number,
    "height": _read_whole_number,
    "seed": _read_whole_number,
}
