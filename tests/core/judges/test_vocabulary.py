"""The attribute judge reads what a sentence names, and nothing that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hierdiff_core.errors import InvalidSetting, UnknownModel
from hierdiff_core.judges.vocabulary import Vocabulary, load_vocabulary, save_vocabulary

WORDS = Vocabulary(
    {
        "product": {"mug": ("mug", "cup"), "lamp": ("lamp", "table lamp")},
        "colour": {"white": ("white",), "blue": ("blue", "royal blue")},
        "background": {
            "studio": ("on a white studio backdrop",),
            "wood": ("on a wooden table", "on wooden boards"),
            "meadow": ("on a lawn under a blue sky",),
        },
    }
)


def test_each_named_attribute_is_found_with_the_place_of_its_value() -> None:
    found = WORDS.read("A royal blue CUP, on  a wooden table")
    assert found == {"product": 0, "colour": 1, "background": 1}


def test_what_is_not_named_is_not_asked_for() -> None:
    assert WORDS.read("a lamp") == {"product": 1}


def test_the_longest_match_takes_the_words_it_is_made_of() -> None:
    assert WORDS.read("a blue mug on a white studio backdrop")["colour"] == 1
    assert WORDS.read("a mug on a lawn under a blue sky") == {"product": 0, "background": 2}


@pytest.mark.parametrize("text", ["a mugful of tea in a cupboard", "whiteness", ""])
def test_parts_of_words_are_not_words_and_a_sentence_that_names_nothing_is_refused(
    text: str,
) -> None:
    with pytest.raises(InvalidSetting, match="names no product, colour, background"):
        WORDS.read(text)


def test_a_sentence_that_names_two_values_of_one_attribute_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="more than one colour"):
        WORDS.read("a white mug on a blue mug")


def test_the_same_value_may_be_named_twice() -> None:
    assert WORDS.read("a mug, a white cup") == {"product": 0, "colour": 0}


@given(st.text(max_size=40))
def test_any_text_around_a_name_leaves_it_readable(text: str) -> None:
    assume(not any(word in text.lower() for word in ("mug", "cup", "lamp")))
    assert WORDS.read(f"{text} mug {text}")["product"] == 0


def test_words_are_the_same_after_a_round_to_disk(tmp_path: Path) -> None:
    save_vocabulary(WORDS, tmp_path / "vocabulary.json")
    assert load_vocabulary(tmp_path / "vocabulary.json").axes == WORDS.axes


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"product": 3}', '{"product": {"mug": 3}}'])
def test_damaged_words_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(UnknownModel, match=r"vocabulary\.json is missing or damaged"):
        load_vocabulary(tmp_path / "vocabulary.json")
