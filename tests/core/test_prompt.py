"""From a row to a prompt, and which prompts are equal or may share steps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from hierdiff_core.errors import EmptyPrompt, HierdiffError, InvalidSetting
from hierdiff_core.prompt import (
    Prompt,
    Recipe,
    compatibility_key,
    content_key,
    embedding_key,
    negative_key,
    read_prompt,
)

RECIPE = Recipe(model="decoder", prior="prior")
CHANGES: Mapping[str, Any] = {
    "model": "other",
    "prior": "other",
    "revision": "1234",
    "prior_revision": "1234",
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


def read(**columns: object) -> Prompt:
    return read_prompt(7, columns, RECIPE)


def refusal(**columns: object) -> str:
    with pytest.raises(HierdiffError) as refused:
        read(**columns)
    return str(refused.value)


def test_a_row_with_a_prompt_alone_takes_the_recipe_as_it_is() -> None:
    assert read(prompt="a red mug") == Prompt(7, "7", "a red mug", RECIPE)


def test_optional_columns_override_the_recipe() -> None:
    prompt = read(
        prompt="a mug",
        reference="A-17",
        negative_prompt="blurred",
        guidance="7.5",
        width="640",
        height=Decimal("384"),
        seed="12",
        colour="ignored",
    )
    wanted = dataclasses.replace(
        RECIPE, negative_prompt="blurred", guidance=7.5, width=640, height=384, seed=12
    )
    assert prompt == Prompt(7, "A-17", "a mug", wanted)


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_optional_column_counts_as_absent(nothing: object) -> None:
    prompt = read(prompt="a mug", reference=nothing, negative_prompt=nothing, seed=nothing)
    assert prompt == Prompt(7, "7", "a mug", RECIPE)


@pytest.mark.parametrize(("reference", "kept"), [(0, "0"), (12, "12"), (Decimal("1.50"), "1.50")])
def test_a_reference_may_be_a_number(reference: object, kept: str) -> None:
    assert read(prompt="a mug", reference=reference).reference == kept


SEED = 2**53 + 1  # a float cannot hold it


@pytest.mark.parametrize("seed", [SEED, str(SEED), Decimal(SEED), np.int64(SEED)])
def test_a_long_seed_is_read_to_the_last_digit(seed: object) -> None:
    assert read(prompt="a mug", seed=seed).recipe.seed == SEED


@pytest.mark.parametrize("width", [640, 640.0, "640", " 640 ", Decimal("640.0"), np.float32(640)])
def test_whole_numbers_of_any_type_are_one_width(width: object) -> None:
    assert read(prompt="a mug", width=width).recipe == dataclasses.replace(RECIPE, width=640)


WHOLE = "a whole number; correct it or drop the row."


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "Column 'prompt' is missing: the source has no columns; "
             "name it in the query or the file."),
        ({"text": 1, "id": 2}, "Column 'prompt' is missing: the source has text, id; "
                               "name it in the query or the file."),
        ({"prompt": None}, "Row 7: the prompt is empty; write a prompt or drop the row."),
        ({"prompt": ""}, "Row 7: the prompt is empty; write a prompt or drop the row."),
        ({"prompt": " \t\n\u3000"}, "Row 7: the prompt is empty; write a prompt or drop the row."),
        ({"prompt": 5}, "Row 7: column 'prompt' holds 5, not text; correct it or drop the row."),
        ({"prompt": b"a"}, "Row 7: column 'prompt' holds b'a', not text; "
                           "correct it or drop the row."),
        ({"negative_prompt": 5}, "Row 7: column 'negative_prompt' holds 5, not text; "
                                 "correct it or drop the row."),
        ({"guidance": "much"}, "Row 7: column 'guidance' holds 'much', not a number; "
                               "correct it or drop the row."),
        ({"guidance": "nan"}, "Row 7: column 'guidance' holds 'nan', not a number; "
                              "correct it or drop the row."),
        ({"guidance": True}, "Row 7: column 'guidance' holds True, not a number; "
                             "correct it or drop the row."),
        ({"guidance": [4]}, "Row 7: column 'guidance' holds [4], not a number; "
                            "correct it or drop the row."),
        ({"width": "512.5"}, f"Row 7: column 'width' holds '512.5', not {WHOLE}"),
        ({"width": 512.5}, f"Row 7: column 'width' holds 512.5, not {WHOLE}"),
        ({"width": float("inf")}, f"Row 7: column 'width' holds inf, not {WHOLE}"),
        ({"width": float("nan")}, f"Row 7: column 'width' holds nan, not {WHOLE}"),
        ({"height": True}, f"Row 7: column 'height' holds True, not {WHOLE}"),
        ({"height": {}}, f"Row 7: column 'height' holds {{}}, not {WHOLE}"),
        ({"height": 0}, "Row 7: column 'height' holds 0, not a whole number above 0; "
                        "correct it or drop the row."),
        ({"seed": -1}, "Row 7: column 'seed' holds -1, not 0 to 2**63 - 1; "
                       "correct it or drop the row."),
        ({"seed": 2**63}, "Row 7: column 'seed' holds 9223372036854775808, not 0 to 2**63 - 1; "
                          "correct it or drop the row."),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_refused_in_one_line(
    columns: Mapping[str, object], message: str
) -> None:
    given = columns if "Column" in message else {"prompt": "a mug", **columns}
    assert refusal(**given) == message


@pytest.mark.parametrize("column", ["prompt", "negative_prompt", "reference"])
@pytest.mark.parametrize("text", ["a\x00mug", "a \ud83d mug"])
def test_text_that_no_database_and_no_file_can_hold_is_refused(column: str, text: str) -> None:
    message = refusal(**{"prompt": "a mug", column: text})
    assert message.startswith(f"Row 7: column '{column}' holds {text!r}, not text of whole")
    message.encode()


@pytest.mark.parametrize(
    "text",
    [
        "'; drop table prompts; --",
        "{row} %s ${HOME} {0}",
        "<script>",
        "../../etc/passwd",
        "ß 🦊 \n",
    ],
)
def test_prompts_are_data_and_kept_as_they_are(text: str) -> None:
    prompt = read(prompt=text, reference=text, negative_prompt=text)
    assert (prompt.text, prompt.reference, prompt.recipe.negative_prompt) == (text,) * 3
    assert text.split()[0] in refusal(prompt="a mug", seed=text)
    assert "\n" not in refusal(prompt="a mug", seed=text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "Setting steps is 0: use a whole number above 0."),
        ("prior_steps", 1, "Setting prior_steps is 1: use a whole number above 1."),
        ("width", 0, "Setting width is 0: use a whole number above 0."),
        (
            "solver",
            "heun",
            "Setting solver is 'heun': use one of ddim, ddpm, euler, flow_euler, dpmsolver++.",
        ),
        ("initial_noise", "x", "Setting initial_noise is 'x': use one of root, shared."),
        ("dtype", "int8", "Setting dtype is 'int8': use one of float32, bfloat16, float16."),
        ("seed", -1, "Setting seed is -1: use 0 to 2**63 - 1."),
        ("guidance", float("nan"), "Setting guidance is nan: use a finite number."),
        ("prior_guidance", float("inf"), "Setting prior_guidance is inf: use a finite number."),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_in_one_line(
    field: str, value: object, message: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        dataclasses.replace(RECIPE, **{field: value})  # type: ignore[arg-type]
    assert str(refused.value) == message


def test_a_recipe_survives_json() -> None:
    recipe = dataclasses.replace(RECIPE, seed=2**63 - 1, guidance=0.1, negative_prompt="ü 🦊")
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_every_field_of_the_recipe_changes_both_keys() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Recipe)}
    recipes = [RECIPE, *(dataclasses.replace(RECIPE, **{k: v}) for k, v in CHANGES.items())]
    assert len({compatibility_key(recipe) for recipe in recipes}) == len(recipes)
    assert len({content_key(Prompt(1, "", "a", recipe)) for recipe in recipes}) == len(recipes)


def test_equal_recipes_have_equal_keys_whatever_the_type_of_a_number() -> None:
    one = dataclasses.replace(RECIPE, guidance=4, prior_guidance=3)  # type: ignore[arg-type]
    other = dataclasses.replace(RECIPE, guidance=4.0, prior_guidance=3.0)
    assert one == other
    assert compatibility_key(one) == compatibility_key(other)


def test_once_weights_are_pinned_their_place_changes_no_key() -> None:
    pinned = dataclasses.replace(RECIPE, revision="12", prior_revision="34")
    moved = dataclasses.replace(pinned, model="/elsewhere", prior="/elsewhere/too")
    assert compatibility_key(moved) == compatibility_key(pinned)
    assert embedding_key(Prompt(1, "", "a", moved)) == embedding_key(Prompt(1, "", "a", pinned))


def test_row_and_reference_change_no_key() -> None:
    one, other = Prompt(1, "a", "a mug", RECIPE), Prompt(2, "b", "a mug", RECIPE)
    assert content_key(one) == content_key(other)
    assert embedding_key(one) == embedding_key(other)


@pytest.mark.parametrize("text", ["caf\u00e9 table", "cafe\u0301 table", "  caf\u00e9 table\n"])
def test_equal_looking_texts_have_one_key(text: str) -> None:
    assert content_key(Prompt(1, "", text, RECIPE)) == content_key(
        Prompt(2, "", "café table", RECIPE)
    )


@pytest.mark.parametrize("text", ["Café table", "café  table", "cafe table", "café tables"])
def test_different_texts_have_different_keys(text: str) -> None:
    assert content_key(Prompt(1, "", text, RECIPE)) != content_key(
        Prompt(1, "", "café table", RECIPE)
    )


def test_an_embedding_is_found_again_by_runs_that_differ_in_the_decoder_alone() -> None:
    own = {"prior", "prior_revision", "prior_steps", "prior_guidance", "seed", "dtype"}
    base = embedding_key(Prompt(1, "", "a", RECIPE))
    for name, value in CHANGES.items():
        recipe = dataclasses.replace(RECIPE, **{name: value})
        assert (embedding_key(Prompt(1, "", "a", recipe)) != base) == (name in own), name


def test_the_negatives_key_follows_its_text_and_is_no_prompts_key() -> None:
    other = dataclasses.replace(RECIPE, negative_prompt="blurred")
    assert negative_key(RECIPE) != negative_key(other)
    assert negative_key(other) != embedding_key(Prompt(0, "", "blurred", other))


def test_a_key_is_of_its_kind() -> None:
    prompt = Prompt(1, "", "a", RECIPE)
    keys = {content_key(prompt), embedding_key(prompt), compatibility_key(RECIPE)}
    assert len(keys) == 3


def test_an_empty_prompt_is_told_from_a_missing_column() -> None:
    with pytest.raises(EmptyPrompt):
        read(prompt=" ")
