"""From a row to a prompt, and which prompts are equal or may share steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal

import numpy as np
import pytest

from hierdiff_core.errors import EmptyPrompt, HierdiffError, WrongType
from hierdiff_core.prompt import (
    COLUMNS,
    Prompt,
    content_key,
    embedding_key,
    negative_key,
    read_pictures,
    read_prompt,
    text_key,
)
from hierdiff_core.recipe import compatibility_key
from tests.core.recipes import CHANGES, bare_recipe, change

RECIPE = bare_recipe()


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
        RECIPE, negative_prompt="blurred", guidance=7.5, width=640, height=384
    )
    assert prompt == Prompt(7, "A-17", "a mug", wanted, own_seed=12)


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_optional_column_counts_as_absent(nothing: object) -> None:
    prompt = read(prompt="a mug", reference=nothing, negative_prompt=nothing, seed=nothing)
    assert prompt == Prompt(7, "7", "a mug", RECIPE)


MARKS: list[object] = [None, float("nan"), Decimal("nan"), np.nan]
MARKS += ["", "  ", "\u00a0", "NULL", "null", "\\N", "nan", "NaN", "None", "N/A", "#N/A", "#REF!"]
MARKS += ["#VALUE!", "#DIV/0!", "<NA>", "-", "\u2013"]


@pytest.mark.parametrize("mark", MARKS, ids=repr)
def test_a_mark_of_absence_is_absence(mark: object) -> None:
    nothing = dict.fromkeys((*COLUMNS[1:],), mark)
    assert read(prompt="a mug", **nothing) == Prompt(7, "7", "a mug", RECIPE)
    assert refusal(prompt=mark) == "Row 7: the prompt is empty; write a prompt or drop the row."


@pytest.mark.parametrize("text", ["\u200b", "?!", "...", "_", "\U0001f98a", "\ufeff", "***"])
def test_a_prompt_without_a_letter_or_a_digit_is_refused(text: str) -> None:
    assert "not text with a letter or a digit" in refusal(prompt=text)


@pytest.mark.parametrize("column", ["prompt", "negative_prompt", "reference"])
def test_text_that_no_encoder_reads_is_refused_before_its_tokens_are_counted(column: str) -> None:
    assert read(**{"prompt": "a mug", column: "x" * 100_000})
    message = refusal(**{"prompt": "a mug", column: "x" * 100_001})
    assert message.endswith("not text of at most 100,000 characters; correct it or drop the row.")


@pytest.mark.parametrize(
    "text", ["7", "\u00e9", "\u8336", "\u0645", "Null Island", "none of these", "a-b"]
)
def test_a_prompt_with_one_is_taken(text: str) -> None:
    assert read(prompt=text).text == text


@pytest.mark.parametrize(
    ("reference", "kept"),
    [
        (0, "0"),
        (12, "12"),
        (17.0, "17"),
        (np.float64(17), "17"),
        (1e22, "10000000000000000000000"),
        (Decimal("1.50"), "1.50"),
        ("0017", "0017"),
        ("17.0", "17.0"),
    ],
)
def test_a_reference_may_be_a_number(reference: object, kept: str) -> None:
    assert read(prompt="a mug", reference=reference).reference == kept


SEED = 2**53 + 1  # a float cannot hold it


@pytest.mark.parametrize("seed", [SEED, str(SEED), f"{SEED}.0", Decimal(SEED), np.int64(SEED)])
def test_a_long_seed_is_read_to_the_last_digit(seed: object) -> None:
    assert read(prompt="a mug", seed=seed).own_seed == SEED


@pytest.mark.parametrize(
    "width",
    [640, 640.0, "640", " 640 ", "640.0", "640.", "6.4e2", "640,0", "+640", Decimal("640.0"),
     np.float32(640), np.int8(64) * np.int16(10)],
)  # fmt: skip
def test_whole_numbers_of_any_type_are_one_width(width: object) -> None:
    assert read(prompt="a mug", width=width).recipe == dataclasses.replace(RECIPE, width=640)


@pytest.mark.parametrize("guidance", ["4.5", "4,5", " 4.50 ", 4.5, Decimal("4.5"), "45e-1"])
def test_numbers_of_any_type_are_one_guidance(guidance: object) -> None:
    assert read(prompt="a mug", guidance=guidance).recipe.guidance == 4.5


HUGE = 10**400


@pytest.mark.parametrize("column", ["guidance", "width", "height", "seed"])
@pytest.mark.parametrize(
    "value",
    ["much", "1_0", "0x10", "4,500", "1.2.3", "4.5.", "true", True, b"1", [1], {}, (1,), HUGE,
     str(HUGE), 10**5000, "9" * 5000, "1e999", "1e99999999", Decimal("1e999999"), float("inf"),
     float("-inf"), "inf", "nan?", "\x00", "\ud83d", "1 2", "--1", "1%", "$1", object(),
     2 + 1j],
    ids=range(31),
)  # fmt: skip
def test_what_is_no_number_is_refused_in_one_short_line(column: str, value: object) -> None:
    message = refusal(prompt="a mug", **{column: value})
    assert message.startswith(f"Row 7: column '{column}' holds ")
    assert message.endswith("; correct it or drop the row.")
    assert len(message) < 250
    message.encode()


WHOLE = "a whole number; correct it or drop the row."


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "Column 'prompt' is missing: the source has no columns; "
             "name it in the query or the file, or say which column it "
             "is with --column prompt=NAME."),
        ({"text": 1, "id": 2}, "Column 'prompt' is missing: the source has text, id; "
                               "name it in the query or the file, or say which column it "
             "is with --column prompt=NAME."),
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
        ({"guidance": True}, "Row 7: column 'guidance' holds True, not a number; "
                             "correct it or drop the row."),
        ({"guidance": [4]}, "Row 7: column 'guidance' holds [4], not a number; "
                            "correct it or drop the row."),
        ({"guidance": -0.5}, "Row 7: column 'guidance' holds -0.5, not a number from 0; "
                             "correct it or drop the row."),
        ({"width": "512.5"}, f"Row 7: column 'width' holds '512.5', not {WHOLE}"),
        ({"width": 512.5}, f"Row 7: column 'width' holds 512.5, not {WHOLE}"),
        ({"width": float("inf")}, f"Row 7: column 'width' holds inf, not {WHOLE}"),
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
    assert message.startswith(f"Row 7: column '{column}' holds {text!r}, not text without null")
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
    own = {"prior", "text_revision", "prior_steps", "prior_guidance", "seed", "dtype"}
    base = embedding_key(Prompt(1, "", "a", RECIPE))
    for name, value in CHANGES.items():
        recipe = change(RECIPE, **{name: value})
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


def test_a_seed_is_of_the_rows_own_steps_but_where_all_start_from_one_noise() -> None:
    own, plain = read(prompt="a mug", seed=12), read(prompt="a mug")
    assert (own.recipe, own.is_variant) == (plain.recipe, True)
    assert text_key(own) == content_key(plain) != content_key(own)
    assert read(prompt="a mug", seed=RECIPE.seed) == plain
    shared = dataclasses.replace(RECIPE, initial_noise="shared")
    whole = read_prompt(7, {"prompt": "a mug", "seed": 12}, shared)
    assert (whole.recipe.seed, whole.is_variant) == (12, False)


def test_a_row_has_as_many_pictures_as_it_says() -> None:
    three = read_pictures(7, {"prompt": "a mug", "reference": "A-17", "variants": "3"}, RECIPE, 2)
    assert [each.name for each in three] == ["A-17", "A-17#2", "A-17#3"]
    assert len({content_key(each) for each in three}) == 3
    assert {embedding_key(each) for each in three} == {embedding_key(three[0])}
    assert three[0] == read_prompt(7, {"prompt": "a mug", "reference": "A-17"}, RECIPE)
    assert len(read_pictures(7, {"prompt": "a mug", "variants": ""}, RECIPE, 2)) == 2


@pytest.mark.parametrize("count", ["0", "101", "-1", "many", "2.5"])
def test_a_number_of_variants_that_cannot_be_is_refused_by_its_row(count: str) -> None:
    with pytest.raises(WrongType, match="Row 7: column 'variants'"):
        read_pictures(7, {"prompt": "a mug", "variants": count}, RECIPE)
