"""Prompts and recipes: what is asked for, and every parameter that changes a picture.

Knows how a row becomes a prompt and which prompts are equal or may share steps. Knows nothing of
where rows come from.
"""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from hierdiff_core.digest import digest
from hierdiff_core.errors import EmptyPrompt, InvalidSetting, MissingColumn, WrongType

INITIAL_NOISE = ("root", "shared")
SOLVERS = ("ddim", "ddpm", "euler", "flow_euler", "dpmsolver++")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every parameter that changes a picture, except the prompt."""

    model: str  # folder or hub name of the decoder
    prior: str  # folder or hub name of the text-to-image prior
    revision: str = ""  # pins the decoder's weights; filled in when they are found
    prior_revision: str = ""  # pins the prior's weights
    solver: str = "ddim"
    steps: int = 40  # K
    guidance: float = 4.0
    prior_steps: int = 25
    prior_guidance: float = 4.0
    height: int = 512  # pixels
    width: int = 512
    negative_prompt: str = ""
    seed: int = 0
    initial_noise: str = "root"  # one draw per root, or one "shared" by all roots
    dtype: str = "float32"  # of the networks; latents are float32 throughout

    def __post_init__(self) -> None:
        _check_one_of("solver", self.solver, SOLVERS)
        _check_one_of("initial_noise", self.initial_noise, INITIAL_NOISE)
        _check_one_of("dtype", self.dtype, DTYPES)
        for name in ("steps", "height", "width"):
            if getattr(self, name) < 1:
                raise InvalidSetting(
                    setting=name, value=getattr(self, name), hint="use a whole number above 0"
                )
        for name in ("guidance", "prior_guidance"):
            number = getattr(self, name)
            if not math.isfinite(number):
                raise InvalidSetting(setting=name, value=number, hint="use a finite number")
            object.__setattr__(self, name, float(number))  # 4 and 4.0 are one recipe and one key
        if self.prior_steps < 2:  # the prior's scheduler divides by one less
            raise InvalidSetting(
                setting="prior_steps", value=self.prior_steps, hint="use a whole number above 1"
            )
        if not 0 <= self.seed < 2**63:
            raise InvalidSetting(setting="seed", value=self.seed, hint="use 0 to 2**63 - 1")

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(fields: Mapping[str, object]) -> Recipe:
        """Return the recipe that `to_json` wrote."""
        return Recipe(**fields)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One picture that is asked for."""

    row: int  # where it stands in the source, from 1
    reference: str  # the user's own name for it, such as an article number
    text: str
    recipe: Recipe


def compatibility_key(recipe: Recipe) -> str:
    """Return the key of those who may share steps: all that is equal in every parameter."""
    return digest("recipe", _identity(recipe))


def content_key(prompt: Prompt) -> str:
    """Return the key of the picture: prompts with equal keys get one leaf and one picture."""
    return digest("prompt", _normal(prompt.text), _identity(prompt.recipe))


def embedding_key(prompt: Prompt) -> str:
    """Return the key of what the prior makes of a prompt: its text and what the prior depends on.

    Runs that differ in the decoder alone find each other's embeddings.
    """
    recipe = prompt.recipe
    weights = recipe.prior_revision or recipe.prior
    facts = (weights, recipe.prior_steps, recipe.prior_guidance, recipe.seed, recipe.dtype)
    return digest("embedding", _normal(prompt.text), *facts)


def negative_key(recipe: Recipe) -> str:
    """Return the key of what guidance steers away from, one for all prompts of a recipe."""
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
        column, wanted = error.facts["setting"], str(error.facts["hint"]).removeprefix("use ")
        raise WrongType(row=row, column=column, value=error.facts["value"], wanted=wanted) from None
    return Prompt(row, reference, text, changed)


def _identity(recipe: Recipe) -> dict[str, object]:
    # Where weights lie changes no picture: once they are pinned, their place is left out, so that
    # equal work is found again from another folder or machine.
    fields = recipe.to_json()
    if recipe.revision:
        del fields["model"]
    if recipe.prior_revision:
        del fields["prior"]
    return fields


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _check_one_of(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidSetting(setting=setting, value=value, hint=f"use one of {', '.join(known)}")


def _read_text(row: int, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise WrongType(row=row, column=column, value=value, wanted="text")
    # Neither has a place in a database or in UTF-8: a null, and half of a surrogate pair.
    if _UNWRITABLE.search(value):
        raise WrongType(row=row, column=column, value=value, wanted="text of whole characters")
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
        # Straight to int, since a float would round the long seed of a text or a decimal.
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
