"""Recipes of a model: the settings that are asked for, the model's own for the rest."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hierdiff_core import miniature
from hierdiff_core.errors import InvalidSetting, WrongRevision
from hierdiff_core.models.families import (
    CLASSIFIER,
    COMMON,
    Option,
    family_of_class,
    options_of,
)
from hierdiff_core.models.family import Parts, load_family, picture_parts
from hierdiff_core.models.folder import find_revision, read_class_name
from hierdiff_core.prompt import Prompt, refuse_column
from hierdiff_core.recipe import Options, Recipe


def make_recipe(model: str, options: Mapping[str, Any] | None = None, **asked: Any) -> Recipe:
    """Return the recipe of a model: fields of Recipe, options of its family, its defaults for None.

    Options may be text, as an environment gives them. Only configs are loaded. Raises
    UnknownModel, also for parts that do not fit together, and InvalidSetting for an unknown or
    invalid option or a size that the model cannot make.
    """
    name = family_of_class(model, read_class_name(model))
    family = load_family(name)
    given = {key: value for key, value in asked.items() if value is not None}
    defaults = family.read_defaults(model)
    fields: dict[str, Any] = {field: getattr(defaults, field) for field in defaults.__slots__}
    own = miniature.DEFAULTS if model == miniature.MODEL else {}
    fields |= {key: value for key, value in own.items() if key in fields}
    known = {option.name: option for option in options_of(name)}
    chosen = {key: value for key, value in own.items() if key in known}
    chosen |= {key: value for key, value in (options or {}).items() if value is not None}
    read = {key: _read(option, chosen) for key, option in known.items()}
    plain = {option.name: option.default for option in COMMON}  # stay out of what is recorded
    recipe = Recipe(
        family=name,
        model=model,
        options=Options({key: value for key, value in read.items() if plain.get(key) != value}),
        **(fields | given),
    )
    for key in sorted(chosen.keys() - known.keys()):
        raise _unknown_option(key, chosen[key], name, known)
    family.check(recipe)
    if recipe.option(CLASSIFIER.name):
        from hierdiff_core.models.classifier import check_classifier  # loads transformers

        check_classifier(recipe)
    return recipe


def pin_recipe(recipe: Recipe, cache: Path | None = None) -> Recipe:
    """Return the recipe with the revisions of the weights in its folders now.

    With a `cache`, weights that have not changed are not read again. Raises UnknownModel.
    """
    family = load_family(recipe.family)
    return replace(
        recipe,
        revision=find_revision(picture_parts(recipe), cache),
        text_revision=find_revision(family.text_parts(recipe), cache),
    )


def load_prompt_check(recipe: Recipe) -> Callable[[Prompt], None]:
    """Return a check that raises, naming the row, for a prompt that the model cannot take.

    The check raises PromptTooLong, and WrongType for a size that the model cannot make. Only the
    tokenizer is loaded; raises UnknownModel.
    """
    family = load_family(recipe.family)
    check_text, check_recipe = family.load_check(recipe), lru_cache(family.check)

    def check(prompt: Prompt) -> None:
        try:
            check_recipe(prompt.recipe)
        except InvalidSetting as error:
            raise refuse_column(prompt.row, error) from None
        check_text(prompt)

    return check


def check_revision(parts: Parts, wanted: str, cache: Path | None = None) -> None:
    """Raise WrongRevision where the weights are not those that a recipe was pinned to."""
    found = find_revision(parts, cache) if wanted else wanted
    if found != wanted:
        raise WrongRevision(model=parts.model, found=found, wanted=wanted)


def _read(option: Option, chosen: Mapping[str, Any]) -> Any:
    """Return an option's value, checked for its type and range."""
    value = chosen.get(option.name, option.default)
    kind = type(option.default)
    try:
        read = kind(value)
    except (TypeError, ValueError, OverflowError):
        read = None
    if not _is_good(read, value, option.least):
        hint = "use " + {int: "a whole number", float: "a number"}.get(kind, "text")
        hint += "" if option.least is None else f" from {option.least:g}"
        raise InvalidSetting(setting=option.name, value=value, hint=hint)
    return read


def _is_good(read: Any, given: Any, least: float | None) -> bool:
    if isinstance(read, int | float):
        whole = isinstance(given, str) or read == given  # 2.5 steps are not 2
        return whole and math.isfinite(read) and (least is None or read >= least)
    return read is not None


def _unknown_option(
    name: str, value: Any, family: str, known: Mapping[str, Option]
) -> InvalidSetting:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"{family} has no such option; "
    hint += f"did you mean {near[0]}" if near else f"it has {', '.join(known) or 'none'}"
    return InvalidSetting(setting=name, value=value, hint=hint)
