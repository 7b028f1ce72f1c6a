"""A recipe: what it refuses, how it is written, and which of it decides keys."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.models import kandinsky22
from hierdiff_core.models.families import Option
from hierdiff_core.models.recipes import make_recipe, pin_recipe
from hierdiff_core.prompt import Prompt, content_key, embedding_key, negative_key
from hierdiff_core.recipe import Options, Recipe, compatibility_key
from hierdiff_core.solvers import SOLVERS
from tests.core.recipes import CHANGES, bare_recipe, change

RECIPE = bare_recipe()
GOLDEN = Path(__file__).parent / "golden/paper.json"
FIRST_TEXT = "a red mug on a wooden table"  # of the prompts there


def keys(recipe: Recipe, text: str = "a") -> tuple[str, str, str]:
    """Return the keys of a recipe, of a picture and of an embedding."""
    prompt = Prompt(1, "", text, recipe)
    return compatibility_key(recipe), content_key(prompt), embedding_key(prompt)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "Setting steps is 0: use a whole number above 0."),
        ("width", 0, "Setting width is 0: use a whole number above 0."),
        (
            "solver",
            "heun",
            f"Setting solver is 'heun': use one of {', '.join(SOLVERS)}.",
        ),
        ("initial_noise", "x", "Setting initial_noise is 'x': use one of root, shared."),
        ("dtype", "int8", "Setting dtype is 'int8': use one of float32, bfloat16, float16."),
        ("seed", -1, "Setting seed is -1: use 0 to 2**63 - 1."),
        ("guidance", float("nan"), "Setting guidance is nan: use a finite number."),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_in_one_line(
    field: str, value: object, message: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        change(RECIPE, **{field: value})
    assert str(refused.value) == message


def test_a_recipe_survives_json() -> None:
    recipe = change(RECIPE, seed=2**63 - 1, guidance=0.1, negative_prompt="ü 🦊", prior_steps=9)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.options["prior_steps"] == 9
    assert hash(again) == hash(recipe)
    assert keys(again) == keys(recipe)


def test_options_are_equal_by_content_and_can_be_a_key() -> None:
    one, other = Options({"a": 1, "b": "x"}), Options({"b": "x", "a": 1})
    assert one == other
    assert {one: "found"}[other] == "found"
    assert len({one, other, Options({"a": 2, "b": "x"}), Options()}) == 3
    assert dict(one) == {"a": 1, "b": "x"}


def test_options_follow_no_change_of_what_they_were_made_of() -> None:
    values = {"a": 1}
    options = Options(values)
    values["a"] = 2
    assert options["a"] == 1
    with pytest.raises(TypeError):
        options["a"] = 3  # type: ignore[index]


def test_every_field_and_option_changes_the_keys() -> None:
    fields = {field.name for field in dataclasses.fields(Recipe)} - {"family", "options"}
    assert set(CHANGES) == fields | set(RECIPE.options)
    recipes = [RECIPE, *(change(RECIPE, **{name: value}) for name, value in CHANGES.items())]
    assert len({compatibility_key(recipe) for recipe in recipes}) == len(recipes)
    assert len({content_key(Prompt(1, "", "a", recipe)) for recipe in recipes}) == len(recipes)


def test_equal_recipes_have_equal_keys_whatever_the_type_of_a_number() -> None:
    one, other = change(RECIPE, guidance=4), change(RECIPE, guidance=4.0)
    assert one == other
    assert keys(one) == keys(other)


def test_once_weights_are_pinned_their_place_changes_no_key() -> None:
    pinned = change(RECIPE, revision="12", text_revision="34")
    moved = change(pinned, model="/elsewhere", prior="/elsewhere/too")
    assert keys(moved) == keys(pinned)
    assert negative_key(moved) == negative_key(pinned)


def test_where_the_text_side_draws_no_noise_a_seed_changes_no_embedding() -> None:
    recipe = dataclasses.replace(RECIPE, family="stable_diffusion", options=Options())
    for name, value in CHANGES.items():
        if name in RECIPE.options:
            continue
        changed = keys(change(recipe, **{name: value}))
        assert changed[:2] != keys(recipe)[:2]
        assert (changed[2] != keys(recipe)[2]) == (name in {"model", "text_revision", "dtype"})


@pytest.fixture
def two_options_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add an option of the picture side and one of the text side to a family."""
    more = (
        Option("sharpness", 0.0, "how sharp", added=True),
        Option("weight", 1.0, "of the words", text=True, added=True),
    )
    monkeypatch.setattr(kandinsky22, "OPTIONS", kandinsky22.OPTIONS + more)


def stored_keys() -> tuple[str, str, str]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text())["keys"]
    return found["compatibility"], found["content"][0], found["embedding"][0]


@pytest.mark.usefixtures("two_options_more")
def test_an_option_added_later_orphans_no_key() -> None:
    recipe = pin_recipe(make_recipe("hierdiff/miniature-decoder"))
    assert (recipe.options["sharpness"], recipe.options["weight"]) == (0.0, 1.0)
    assert keys(recipe, FIRST_TEXT) == stored_keys()
    # A recipe that was stored before there were such options holds none of them.
    first = {name: recipe.options[name] for name in RECIPE.options}
    assert keys(dataclasses.replace(recipe, options=Options(first)), FIRST_TEXT) == stored_keys()


@pytest.mark.usefixtures("two_options_more")
def test_an_option_added_later_counts_once_it_is_set() -> None:
    recipe = pin_recipe(make_recipe("hierdiff/miniature-decoder"))
    sharp = keys(change(recipe, sharpness=0.5), FIRST_TEXT)
    heavy = keys(change(recipe, weight=2.0), FIRST_TEXT)
    stored = stored_keys()
    assert sharp[2] == stored[2]  # its text side is the old one
    assert len({stored[:2], sharp[:2], heavy[:2]}) == 3
    assert heavy[2] != stored[2]
