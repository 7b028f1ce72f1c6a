"""What a miniature picture can show, and which combinations training never sees.

Knows the words and their synonyms; knows neither sentences (`captions`) nor shapes (`drawings`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from itertools import product as every_combination
from types import MappingProxyType

PRODUCTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mug": ("mug", "coffee mug", "cup"),
        "teapot": ("teapot", "tea pot"),
        "bottle": ("bottle", "water bottle"),
        "lamp": ("lamp", "table lamp", "desk lamp"),
        "chair": ("chair", "wooden-legged chair"),
        "backpack": ("backpack", "rucksack"),
        "shirt": ("shirt", "t-shirt"),
        "sneaker": ("sneaker", "trainer", "running shoe"),
        "umbrella": ("umbrella", "parasol"),
        "clock": ("clock", "alarm clock"),
    }
)
COLOURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "red": ("red", "scarlet"),
        "orange": ("orange", "tangerine"),
        "yellow": ("yellow", "lemon yellow"),
        "green": ("green", "leaf green"),
        "teal": ("teal", "turquoise"),
        "blue": ("blue", "royal blue"),
        "purple": ("purple", "violet"),
        "pink": ("pink", "rose pink"),
        "black": ("black", "jet black"),
        "white": ("white", "ivory white"),
    }
)
PATTERNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("plain", "solid"),
        "striped": ("striped", "stripy"),
        "dotted": ("dotted", "polka dot", "spotted"),
        "checked": ("checked", "chequered"),
        "zigzag": ("zigzag", "chevron"),
    }
)
BACKGROUNDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "studio": (
            "on a white studio backdrop",
            "in a bright studio",
            "against a seamless backdrop",
        ),
        "wood": ("on a wooden table", "on an oak table", "on wooden boards"),
        "marble": ("on a marble counter", "on a slab of marble"),
        "meadow": ("in a green meadow", "on the grass", "on a lawn under a blue sky"),
        "beach": ("on a sandy beach", "on the sand by the sea"),
        "night": ("on a dark stage", "at night under a spotlight", "in front of a dark wall"),
    }
)
STYLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "photo": ("product photo", "studio shot", "catalogue photo", "photograph"),
        "watercolour": ("watercolour", "watercolor painting", "soft watercolour painting"),
        "sketch": ("pencil sketch", "coloured pencil drawing", "hand-drawn sketch"),
        "poster": ("flat poster", "poster illustration", "flat vector illustration"),
    }
)
HELD_OUT_SHARE = 10


@dataclass(frozen=True, slots=True)
class Attributes:
    """What one picture shows; every field is a key of the mapping of its name."""

    product: str
    colour: str
    pattern: str
    background: str
    style: str


AXES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "product": PRODUCTS,
        "colour": COLOURS,
        "pattern": PATTERNS,
        "background": BACKGROUNDS,
        "style": STYLES,
    }
)


def all_attributes() -> Iterator[Attributes]:
    """Yield all 12,000 combinations in a fixed order."""
    for values in every_combination(*AXES.values()):
        yield Attributes(*values)


def is_held_out(attributes: Attributes) -> bool:
    """Tell whether training never sees this combination: SHA-256 of its words, modulo 10, is 0."""
    digest = hashlib.sha256("|".join(astuple(attributes)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_SHARE == 0


def split_attributes() -> tuple[list[Attributes], list[Attributes]]:
    """Return the combinations that training sees, and the tenth that it never sees."""
    seen: list[Attributes] = []
    held_out: list[Attributes] = []
    for attributes in all_attributes():
        (held_out if is_held_out(attributes) else seen).append(attributes)
    return seen, held_out


def indices(attributes: Attributes) -> tuple[int, ...]:
    """Return the position of each value on its axis, in the order of `AXES`."""
    return tuple(
        list(axis).index(value)
        for axis, value in zip(AXES.values(), astuple(attributes), strict=True)
    )
