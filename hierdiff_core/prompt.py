"""Prompts: which are equal, which may share an embedding, and how a source row becomes one."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hierdiff_core.cell import (
    has_letter,
    is_absent,
    read_name,
    read_number,
    read_text,
    read_whole_number,
    wrong,
)
from hierdiff_core.digest import digest
from hierdiff_core.errors import EmptyPrompt, InvalidSetting, MissingColumn, WrongType
from hierdiff_core.printable import brief
from hierdiff_core.recipe import Recipe, recipe_facts, text_facts


@dataclass(frozen=True, slots=True)
class Prompt:
    """One requested picture."""

    row: int  # its row in the source, from 1
    reference: str  # the user's own name for it, such as an article number
    text: str
    recipe: Recipe
    number: int = 1  # of the row's pictures, from 1
    own_seed: int | None = None  # the row's, of the steps that it shares with no other
    remade_seed: int | None = None  # instead of it, since the picture was rejected
    anew: bool = False  # whether it is made although an earlier night has made it

    @property
    def name(self) -> str:
        """The picture's name: the reference, with its number from the row's second picture on."""
        return name_picture(self.reference, self.number)

    @property
    def drawn_seed(self) -> int | None:
        """The seed of its own steps; None: the recipe's, as that of all that it shares."""
        seed = self.own_seed if self.remade_seed is None else self.remade_seed
        return None if seed == self.recipe.seed else seed

    @property
    def is_variant(self) -> bool:
        """Whether it is another picture of its text, whose own steps have noise of their own."""
        return self.number > 1 or self.drawn_seed is not None

    @property
    def first(self) -> Prompt:
        """The first picture of its text."""
        return dataclasses.replace(self, number=1, own_seed=None, remade_seed=None)


def name_picture(reference: str, number: int) -> str:
    """Return the name of a row's picture: A-17 of the first one, A-17#2 of the second one."""
    return reference if number == 1 else f"{reference}#{number}"


RENEWED = 1.0  # share R of the noise that each own step of a variant replaces, see `renewal`


def content_key(prompt: Prompt) -> str:
    """Return the key of the picture: prompts with equal keys get one leaf and one picture."""
    if not prompt.is_variant:
        return text_key(prompt)
    own = {"number": prompt.number, "seed": prompt.drawn_seed, "renewed": RENEWED}
    return digest("prompt", normal_text(prompt.text), recipe_facts(prompt.recipe), own)


def text_key(prompt: Prompt) -> str:
    """Return the content key of the text's first picture: all its variants steer alike."""
    return digest("prompt", normal_text(prompt.text), recipe_facts(prompt.recipe))


def embedding_key(prompt: Prompt) -> str:
    """Return the key of a prompt's embedding: its text and the text side's part of the recipe.

    Runs that differ only in the picture side find each other's embeddings.
    """
    return digest("embedding", normal_text(prompt.text), *text_facts(prompt.recipe))


def negative_key(recipe: Recipe) -> str:
    """Return the key of the negative conditioning, one for all prompts of a recipe."""
    stand_in = Prompt(0, "", recipe.negative_prompt, recipe)
    return digest("negative", embedding_key(stand_in))


def read_prompt(row: int, columns: Mapping[str, object], recipe: Recipe) -> Prompt:
    """Return the prompt of one source row.

    Column `prompt` is required; `reference`, `negative_prompt`, `guidance`, `width`, `height` and
    `seed` are optional and override the recipe. A seed is that of the steps that the row shares
    with no other, but where all roots of a recipe start from one noise: there it is the recipe's.
    An optional column that is empty or holds a mark of absence, such as NULL, counts as absent.
    Raises MissingColumn, EmptyPrompt, WrongType, InvalidSetting.
    """
    if "prompt" not in columns:
        raise missing_column("prompt", columns)
    if is_absent(columns["prompt"]):
        raise EmptyPrompt(row=row)
    text = read_text(row, "prompt", columns["prompt"])
    if not has_letter(text):
        raise wrong(row, "prompt", text, "text with a letter or a digit")
    given = {name: columns[name] for name in _READERS if not is_absent(columns.get(name))}
    overrides = {name: _READERS[name](row, name, value) for name, value in given.items()}
    reference = columns.get("reference")
    named = read_name(row, "reference", row if is_absent(reference) else reference)
    try:
        changed = dataclasses.replace(recipe, **overrides)  # type: ignore[arg-type]
    except InvalidSetting as error:
        raise refuse_column(row, error) from None
    if recipe.initial_noise == "shared":
        return Prompt(row, named, text, changed)
    own_seed = None if changed.seed == recipe.seed else changed.seed
    changed = dataclasses.replace(changed, seed=recipe.seed)
    return Prompt(row, named, text, changed, own_seed=own_seed)


def read_pictures(
    row: int, columns: Mapping[str, object], recipe: Recipe, variants: int = 1
) -> tuple[Prompt, ...]:
    """Return a row's pictures, as many as its column `variants` says; see `read_prompt`."""
    prompt, asked = read_prompt(row, columns, recipe), columns.get("variants")
    count = variants if is_absent(asked) else read_whole_number(row, "variants", asked)
    if not 1 <= count <= MOST_VARIANTS:
        raise wrong(row, "variants", count, f"1 to {MOST_VARIANTS}")
    return tuple(dataclasses.replace(prompt, number=each) for each in range(1, count + 1))


def missing_column(column: str, columns: Iterable[str]) -> MissingColumn:
    """Return the error of a source without a column, which names those that it has."""
    return MissingColumn(column=column, columns=list_columns(columns))


def list_columns(columns: Iterable[str]) -> str:
    """Return the names of columns as an error lists them, the first ones of many."""
    names = [name for name in columns if name]
    listed = ", ".join(str(brief(name)) for name in names[:_LISTED]) or "no columns"
    return listed + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def refuse_column(row: int, error: InvalidSetting) -> WrongType:
    """Return the error of a setting as the error of the column that set it, naming the row."""
    column, wanted = error.facts["setting"], str(error.facts["hint"]).removeprefix("use ")
    return wrong(row, str(column), error.facts["value"], wanted)


def normal_text(text: str) -> str:
    """Return a prompt's text as keys see it: equal for texts that look equal."""
    return unicodedata.normalize("NFC", text.strip())


_READERS = {
    "negative_prompt": read_text,
    "guidance": read_number,
    "width": read_whole_number,
    "height": read_whole_number,
    "seed": read_whole_number,
}
MOST_VARIANTS = 100
_LISTED = 20  # columns that an error names
OWN_COLUMNS = tuple(_READERS)  # of the recipe, that a row may have
COLUMNS = ("prompt", "reference", *OWN_COLUMNS, "variants")  # of a row, as `read_prompt` reads it
