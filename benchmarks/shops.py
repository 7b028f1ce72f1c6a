"""Two small catalogues in the miniature's vocabulary, as a newcomer brings them."""

from __future__ import annotations

from hierdiff_core.evaluation.prompt_sets import Entry, PromptSet

_PRODUCTS = ("sneaker", "teapot", "mug", "lamp", "backpack", "shirt", "clock")
_COLOURS = ("red", "blue", "green", "yellow")
# Rows that somebody wrote by hand: a few of each kind, named as they came to mind.
_OWN = (
    "red mug", "a blue coffee mug", "white cup on a wooden table", "striped mug, product photo",
    "a black teapot", "tea pot, dotted, on a marble counter", "green teapot in a green meadow",
    "a water bottle on the sand by the sea", "teal bottle", "pink striped bottle, studio shot",
    "an orange bottle on an oak table", "desk lamp at night under a spotlight", "a yellow lamp",
    "checked lamp on a white studio backdrop", "purple table lamp, flat poster", "a red chair",
    "blue chair on the grass", "a white chair on a sandy beach", "chair, watercolour",
    "a green rucksack", "scarlet backpack on wooden boards", "a zigzag backpack, pencil sketch",
    "black backpack in a bright studio", "a teal shirt", "plain white t-shirt, catalogue photo",
    "striped t-shirt in red", "a dotted yellow shirt on a wooden table", "jet black t-shirt",
    "pink shirt with a zigzag pattern", "a running shoe", "red trainer on a sandy beach",
    "white sneaker, studio shot", "a blue sneaker on the grass", "green checked running shoe",
    "a violet umbrella", "parasol on the sand by the sea", "striped umbrella, flat poster",
    "an orange umbrella in a green meadow", "polka dot umbrella, watercolour", "an alarm clock",
    "a red clock on a marble counter", "turquoise clock in front of a dark wall",
    "black and quiet: a clock at night under a spotlight", "yellow alarm clock, pencil sketch",
    "royal blue clock on an oak table", "a white clock, catalogue photo",
)  # fmt: skip


def mixed_shop() -> PromptSet:
    """Return 28 rows: seven products, each in four colours."""
    texts = [f"a {colour} {product}" for product in _PRODUCTS for colour in _COLOURS]
    return PromptSet("shop", "28 rows of a mixed shop", tuple(map(Entry, texts)))


def own_rows() -> PromptSet:
    """Return 46 rows that nobody planned for."""
    return PromptSet("own", "46 rows of one's own", tuple(map(Entry, _OWN)))
