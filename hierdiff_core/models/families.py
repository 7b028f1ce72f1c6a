"""The model families, found by the pipeline class that a model's folder names.

A family is one file beside this one, a module that is a `Family`; it is loaded when it is needed,
since that takes torch and diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from hierdiff_core.errors import UnknownModel

FAMILIES: Mapping[str, str] = {  # by `_class_name` of model_index.json
    "Flux2KleinPipeline": "flux2",
    "Flux2Pipeline": "flux2",
    "FluxPipeline": "flux",
    "Kandinsky3Pipeline": "kandinsky3",
    "KandinskyV22Pipeline": "kandinsky22",
    "PixArtSigmaPipeline": "pixart_sigma",
    "QwenImagePipeline": "qwen_image",
    "SanaPipeline": "sana",
    "StableDiffusion3Pipeline": "stable_diffusion_3",
    "StableDiffusionPipeline": "stable_diffusion",
    "StableDiffusionXLPipeline": "stable_diffusion_xl",
    "StableUnCLIPPipeline": "stable_unclip",
    "UnCLIPPipeline": "karlo",
    "ZImagePipeline": "z_image",
}

# Pipelines that could be run, but whose pictures would not be their prompts' alone.
REFUSED: Mapping[str, str] = {  # the reason by class
    "Kandinsky5T2IPipeline": "its network has no mask for padding, "
    "so a picture would depend on the longest prompt beside it",
}


@dataclass(frozen=True, slots=True)
class Option:
    """A parameter that a family asks for beside the fields of a recipe."""

    name: str
    default: Any  # its type is the option's type
    meaning: str  # in a few words, for people
    least: float | None = None
    text: bool = False  # changes embeddings
    weights: bool = False  # names a folder of weights, which a revision pins
    added: bool = False  # after the family's release: in no key while it has its default
    finish: bool = False  # changes pictures once they are denoised, so not what steps settle


CLASSIFIER = Option(
    "classifier",
    "",
    "folder or hub name of an image classifier; what it flags is withheld; empty: none",
    weights=True,
    added=True,
    finish=True,
)
CLASSIFIER_LABELS = Option(
    "classifier_labels",
    "",
    "labels that flag a picture, separated by commas",
    added=True,
    finish=True,
)
CLASSIFIER_THRESHOLD = Option(
    "classifier_threshold",
    0.5,
    "probability of such a label from which a picture is flagged",
    least=0,
    added=True,
    finish=True,
)
COMMON = (CLASSIFIER, CLASSIFIER_LABELS, CLASSIFIER_THRESHOLD)  # that every family has


def load_module(name: str) -> ModuleType:
    """Return the module of a family, whose type `family.load_family` knows; raises UnknownModel."""
    if name not in FAMILIES.values():
        known = ", ".join(sorted(set(FAMILIES.values())))
        raise UnknownModel(model=name, hint=f"no such family is known; these are: {known}")
    return import_module(f"hierdiff_core.models.{name}")


def options_of(name: str) -> tuple[Option, ...]:
    """Return what a family asks for, alone or as every other does; raises UnknownModel."""
    own: tuple[Option, ...] = load_module(name).OPTIONS
    return (*own, *COMMON)


def draws_text(name: str) -> bool:
    """Tell whether a family's embeddings depend on the seed; raises UnknownModel."""
    return bool(load_module(name).TEXT_DRAWS)


def family_of_class(model: str, class_name: str) -> str:
    """Return the name of the family whose pipeline class a model names; raises UnknownModel."""
    if class_name in REFUSED:
        raise UnknownModel(model=model, hint=f"it is a {class_name}; {REFUSED[class_name]}")
    if class_name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnknownModel(model=model, hint=f"it is a {class_name}; known are {known}")
    return FAMILIES[class_name]
