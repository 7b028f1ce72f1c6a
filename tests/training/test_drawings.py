"""Drawings and captions keep their promises."""

from __future__ import annotations

import numpy as np
import pytest

from training.captions import PHRASINGS, caption
from training.drawings import draw
from training.vocabulary import AXES, Attributes, all_attributes, split_attributes

MUG = Attributes("mug", "red", "striped", "wood", "photo")


def test_a_drawing_is_the_same_whenever_its_attributes_and_seed_are() -> None:
    assert draw(MUG, 3).tobytes() == draw(MUG, 3).tobytes()


def test_another_seed_gives_another_drawing_of_the_same_thing() -> None:
    assert draw(MUG, 3).tobytes() != draw(MUG, 4).tobytes()


@pytest.mark.parametrize("axis", AXES)
def test_every_value_of_every_attribute_shows_in_the_picture(axis: str) -> None:
    plain = {name: next(iter(values)) for name, values in AXES.items()}
    drawn = [draw(Attributes(**plain | {axis: value}), 1) for value in AXES[axis]]
    assert all(picture.size == (64, 64) and picture.mode == "RGB" for picture in drawn)
    pixels = [np.asarray(picture, dtype=float) for picture in drawn]
    for at, first in enumerate(pixels):
        for second in pixels[at + 1 :]:
            assert np.abs(first - second).mean() > 1


def test_a_caption_names_every_attribute_however_it_is_phrased() -> None:
    for attributes in list(all_attributes())[::97]:
        for seed in range(2 * len(PHRASINGS)):
            text = caption(attributes, seed)
            for name, axis in AXES.items():
                synonyms = axis[getattr(attributes, name)]
                assert any(synonym in text for synonym in synonyms), (text, name)


def test_seed_zero_gives_the_plain_sentence() -> None:
    assert caption(MUG, 0) == "a product photo of a red striped mug on a wooden table"


def test_articles_fit_the_word_that_follows() -> None:
    umbrella = Attributes("umbrella", "orange", "plain", "wood", "photo")
    texts = [caption(umbrella, seed) for seed in range(50)]
    assert not any(" a orange" in text or " a umbrella" in text for text in texts)
    assert any("an orange" in text for text in texts)


def test_a_tenth_of_the_combinations_is_held_out_and_never_seen() -> None:
    seen, held_out = split_attributes()
    assert not set(seen) & set(held_out)
    assert len(seen) + len(held_out) == 10 * 10 * 5 * 6 * 4
    assert len(held_out) == pytest.approx(1200, rel=0.05)


def test_every_value_is_seen_in_training_and_occurs_among_the_held_out() -> None:
    for part in split_attributes():
        for name, axis in AXES.items():
            assert {getattr(attributes, name) for attributes in part} == set(axis)
