"""Recipes of models that are never loaded, and how one is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hierdiff_core.recipe import Options, Recipe


def bare_recipe(**changes: Any) -> Recipe:
    """Return a recipe of Kandinsky 2.2 under made-up names, with these fields and options."""
    recipe = Recipe(
        family="kandinsky22",
        model="decoder",
        solver="ddim",
        steps=40,
        guidance=4.0,
        height=512,
        width=512,
        options=Options({"prior": "prior", "prior_steps": 25, "prior_guidance": 4.0}),
    )
    return change(recipe, **changes)


def change(recipe: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with other fields and options, told apart by their names."""
    options = {name: changes.pop(name) for name in recipe.options if name in changes}
    return replace(recipe, **{"options": Options({**recipe.options, **options}), **changes})


# Another value for every field and option of `bare_recipe` that decides pictures.
CHANGES: Mapping[str, Any] = {
    "model": "other",
    "prior": "other",
    "revision": "1234",
    "text_revision": "1234",
    "solver": "ddpm",
    "steps": 41,
    "guidance": 4.1,
    "prior_steps": 26,
    "prior_guidance": 4.1,
    "height": 513,
    "width": 513,
    "negative_prompt": "blurred",
    "seed": 1,
    "initial_noise": "shared",
    "dtype": "bfloat16",
}
