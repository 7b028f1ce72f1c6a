"""Sentences that name every attribute of a picture.

Knows phrasings and draws synonyms; knows nothing of pixels or tokens.
"""

from __future__ import annotations

import re

import numpy as np

from training.vocabulary import AXES, Attributes

PHRASINGS = (
    "a {style} of a {colour} {pattern} {product} {background}",
    "{style} of a {colour} {pattern} {product} {background}",
    "a {colour} {pattern} {product} {background}, {style}",
    "{colour} {product}, {pattern}, {background}, {style}",
    "a {pattern} {product} in {colour} {background}, {style}",
    "{style}: a {pattern} {colour} {product} {background}",
    "a {style} showing a {product} {background}, {colour} and {pattern}",
    "{background}, a {colour} {product} with a {pattern} pattern, {style}",
)


def caption(attributes: Attributes, seed: int) -> str:
    """Return one sentence for the attributes; the same seed gives the same sentence.

    Phrasing and synonyms are drawn independently. Seed 0 is the plain sentence: the first phrasing
    with the first synonym of each word.
    """
    if seed == 0:
        return _fill(PHRASINGS[0], attributes, [0] * len(AXES))
    rng = np.random.default_rng(seed)
    phrasing = PHRASINGS[int(rng.integers(len(PHRASINGS)))]
    return _fill(phrasing, attributes, [int(pick) for pick in rng.integers(2**31, size=len(AXES))])


def _fill(phrasing: str, attributes: Attributes, picks: list[int]) -> str:
    words = {}
    for (name, axis), pick in zip(AXES.items(), picks, strict=True):
        synonyms = axis[getattr(attributes, name)]
        words[name] = synonyms[pick % len(synonyms)]
    return re.sub(r"\b([aA]) (?=[aeio]|umb)", r"\1n ", phrasing.format(**words))
