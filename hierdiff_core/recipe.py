"""Recipes: every parameter that changes a picture, except the prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hierdiff_core.digest import digest
from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models.families import Option, draws_text, options_of
from hierdiff_core.solvers import SOLVERS, count_evaluations

INITIAL_NOISE = ("root", "shared")
DTYPES = ("float32", "bfloat16", "float16")


class Options(Mapping[str, Any]):
    """A recipe's family-specific parameters: an immutable, hashable mapping."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(sorted((values or {}).items()))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return f"Options({self._values})"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every parameter that changes a picture, except the prompt.

    `hierdiff_core.models.recipes.make_recipe` fills in the model's defaults.
    """

    family: str  # of FAMILIES
    model: str  # folder or hub name
    solver: str
    steps: int  # as the scheduler counts them; `evaluations` may be one more
    guidance: float
    height: int  # pixels
    width: int
    revision: str = ""  # pins the weights of the picture side; empty until they are found
    text_revision: str = ""  # pins the weights of the text side
    negative_prompt: str = ""
    seed: int = 0
    initial_noise: str = "root"  # one draw per root, or one "shared" by all roots
    dtype: str = "float32"  # of the networks; latents are float32 throughout
    options: Options = field(default_factory=Options)  # the family's own parameters

    def __post_init__(self) -> None:
        _check_one_of("solver", self.solver, tuple(SOLVERS))
        _check_one_of("initial_noise", self.initial_noise, INITIAL_NOISE)
        _check_one_of("dtype", self.dtype, DTYPES)
        for name in ("steps", "height", "width"):
            if getattr(self, name) < 1:
                raise InvalidSetting(
                    setting=name, value=getattr(self, name), hint="use a whole number above 0"
                )
        if not math.isfinite(self.guidance):
            hint = "use a finite number"
            raise InvalidSetting(setting="guidance", value=self.guidance, hint=hint)
        # 4 and 4.0 are one recipe and one key.
        object.__setattr__(self, "guidance", float(self.guidance))
        if not 0 <= self.seed < 2**63:
            raise InvalidSetting(setting="seed", value=self.seed, hint="use 0 to 2**63 - 1")

    @property
    def evaluations(self) -> int:
        """Evaluations of a picture that shares none: the K of plans, thresholds and budgets."""
        return count_evaluations(self.solver, self.steps)

    def option(self, name: str) -> Any:
        """Return an option; the family's default where the recipe is older than the option."""
        option = next(each for each in _options(self) if each.name == name)
        return type(option.default)(self.options.get(name, option.default))

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values, with the options among them."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {**fields, **self.options}

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_json` wrote."""
        own = {name: value for name, value in fields.items() if name in _FIELDS}
        rest = {name: value for name, value in fields.items() if name not in _FIELDS}
        return Recipe(**own, options=Options(rest))


_FIELDS = tuple(name for name in Recipe.__dataclass_fields__ if name != "options")
# Names under which keys were first made; another name would orphan every checkpoint.
_KEY_NAMES = {"text_revision": "prior_revision"}


def compatibility_key(recipe: Recipe) -> str:
    """Return the key of recipes that may share steps: they are equal in every parameter."""
    return digest("recipe", recipe_facts(recipe))


def recipe_facts(recipe: Recipe) -> dict[str, object]:
    """Return the parameters that decide pictures, as they enter keys.

    The location of weights changes no picture: once they are pinned, it is left out, so that equal
    work is found again from another folder or machine. An option that was added to a family later
    is left out while it has its default, so that earlier work is found again too.
    """
    facts = {_KEY_NAMES.get(name, name): getattr(recipe, name) for name in _FIELDS}
    del facts["family"]  # the weights decide it
    if recipe.revision:
        del facts["model"]
    counted = (option for option in _options(recipe) if _counts(option, recipe))
    return facts | {option.name: recipe.option(option.name) for option in counted}


@lru_cache(maxsize=1024)
def text_facts(recipe: Recipe) -> tuple[object, ...]:
    """Return the parameters that decide embeddings, as they enter keys, the weights first."""
    options = [option for option in _options(recipe) if option.text]
    others = [option for option in options if option.weights and not option.added]
    places = [recipe.option(option.name) for option in others]
    facts: list[object] = [recipe.text_revision or (places[0] if places else recipe.model)]
    for option in options:
        if option.added and _counts(option, recipe):
            facts.append([option.name, recipe.option(option.name)])
        elif not option.added and not option.weights:
            facts.append(recipe.option(option.name))
    if draws_text(recipe.family):
        facts.append(recipe.seed)
    return (*facts, recipe.dtype)


def _options(recipe: Recipe) -> tuple[Option, ...]:
    return options_of(recipe.family)


def _counts(option: Option, recipe: Recipe) -> bool:
    if option.weights and (recipe.text_revision if option.text else recipe.revision):
        return False
    return not option.added or recipe.option(option.name) != option.default


def _check_one_of(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidSetting(setting=setting, value=value, hint=f"use one of {', '.join(known)}")
