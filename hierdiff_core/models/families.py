"""The model families that there are, found by the pipeline class that a model's folder names.

A family is one file beside this one, a module that is a `Family`; it is loaded when it is asked
for, since that takes torch and diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from hierdiff_core.errors import UnknownModel

if TYPE_CHECKING:
    from hierdiff_core.models.family import Family

FAMILIES: Mapping[str, str] = {  # by `_class_name` of model_index.json
    "KandinskyV22Pipeline": "kandinsky22",
    "StableDiffusionPipeline": "stable_diffusion",
}


@dataclass(frozen=True, slots=True)
class Option:
    """A parameter that one family alone asks for."""

    name: str
    default: Any  # says the type, too
    meaning: str  # in a few words, for people
    least: float | None = None
    text: bool = False  # changes what the text side makes of a prompt
    weights: bool = False  # names a folder of weights, which a revision pins
    added: bool = False  # later than the family: in no key while it has its default


def load_family(name: str) -> Family:
    """Return the family of a name; raises UnknownModel."""
    if name not in FAMILIES.values():
        known = ", ".join(sorted(FAMILIES.values()))
        raise UnknownModel(model=name, hint=f"no such family is known; these are: {known}")
    return cast("Family", import_module(f"hierdiff_core.models.{name}"))


def family_of_class(model: str, class_name: str) -> str:
    """Return the name of the family whose pipeline class a model names; raises UnknownModel."""
    if class_name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnknownModel(model=model, hint=f"it is a {class_name}; known are {known}")
    return FAMILIES[class_name]
