"""Writes the built-in prompt sets in the miniature's vocabulary, the same ones each time.

`python -m benchmarks.paper.write_sets` writes them to `sets`, and the one that the package ships
beside the miniature. Development sets, from which defaults are chosen, name no combination of any
report set, and none that is held out.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import product as every
from pathlib import Path

from benchmarks.paper.prompt_sets import DEVELOPMENT, FOLDER, INDEX, REPORT, set_file
from hierdiff_core.miniature import PROMPTS
from training.captions import caption
from training.vocabulary import AXES, Attributes, all_attributes, is_held_out, split_attributes

Row = dict[str, str]
COLUMNS = ("prompt", "held_out", *AXES)
# (name, title, purpose, the paper's set, what the paper saves there)
SETS = (
    ("diverse", "600 held-out combinations, all phrasings", REPORT, "GenAI-Bench", 0.5043),
    ("templates", "2,000 of one template with four places", REPORT, "Prompt Template", 0.6925),
    ("styles", "100 variations of one product", REPORT, "Style Variations", 0.7393),
    ("words", "500 single words and pairs of words", REPORT, "Animals", 0.6280),
    ("subjects", "500 subjects in one scene", REPORT, "Subject variation", 0.76),
    ("tryon", "16 versions of one shirt", REPORT, "Virtual try-on", 0.653),
    ("diverse-dev", "400 combinations, all phrasings", DEVELOPMENT, "", None),
    ("templates-dev", "1,000 of one template with four places", DEVELOPMENT, "", None),
    ("subjects-dev", "400 subjects in one scene", DEVELOPMENT, "", None),
)


def make_sets() -> dict[str, list[Row]]:
    """Return the rows of every set by name."""
    seen, held_out = split_attributes()
    report = {
        "diverse": _phrased(_shuffled(held_out, 31)[:600]),
        "templates": _plain(_shuffled(_where(pattern="striped"), 32)[:2000]),
        "styles": _styles(33, 100),
        "words": _words(34, 500),
        "subjects": _plain(_where(style="photo", background="wood")),
        "tryon": _tryon(),
    }
    taken = {tuple(row.get(axis) for axis in AXES) for rows in report.values() for row in rows}
    free = [each for each in seen if tuple(asdict(each).values()) not in taken]
    development = {
        "diverse-dev": _phrased(_shuffled(free, 35)[:400]),
        "templates-dev": _plain(_shuffled(_among(free, pattern="checked"), 36)[:1000]),
        "subjects-dev": _plain(
            _shuffled(_among(free, style="poster", background="marble"), 37)[:400]
        ),
    }
    return report | development


def write_sets(folder: Path = FOLDER, shipped: Path = PROMPTS) -> None:
    """Write one CSV for each set, and their index; `shipped` is the file of the package's set."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("name", "title", "purpose", "paper", "paper_saving")
    index = [dict(zip(names, facts, strict=True)) for facts in SETS]
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    for name, rows in make_sets().items():
        with set_file(name, folder, shipped).open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _where(**fixed: str) -> list[Attributes]:
    return _among(all_attributes(), **fixed)


def _among(attributes: Iterable[Attributes], **fixed: str) -> list[Attributes]:
    return [
        each
        for each in attributes
        if all(getattr(each, axis) == value for axis, value in fixed.items())
    ]


def _shuffled(attributes: Sequence[Attributes], seed: int) -> list[Attributes]:
    return random.Random(seed).sample(attributes, len(attributes))


def _plain(attributes: Sequence[Attributes]) -> list[Row]:
    return [_row(caption(each, 0), each) for each in attributes]


def _phrased(attributes: Sequence[Attributes]) -> list[Row]:
    return [_row(caption(each, seed), each) for seed, each in enumerate(attributes, start=1)]


def _row(text: str, attributes: Attributes) -> Row:
    held_out = "yes" if is_held_out(attributes) else "no"
    return {"prompt": text, "held_out": held_out, **asdict(attributes)}


def _styles(seed: int, count: int) -> list[Row]:
    """One teapot in all colours, in all words that name a style."""
    rows = []
    for colour, (style, words) in every(AXES["colour"], AXES["style"].items()):
        shown = Attributes("teapot", colour, "dotted", "wood", style)
        plain = caption(shown, 0).split(" of a", 1)[1]
        rows += [_row(f"a {word} of a{plain}", shown) for word in words]
    return random.Random(seed).sample(rows, count)


def _tryon() -> list[Row]:
    colours, patterns = ("red", "blue", "green", "black"), list(AXES["pattern"])[1:]
    return _plain(
        [Attributes("shirt", *each, "studio", "photo") for each in every(colours, patterns)]
    )


def _words(seed: int, count: int) -> list[Row]:
    """Every word for a product, then pairs of it with a word of one other attribute."""
    products = [(key, word) for key, words in AXES["product"].items() for word in words]
    single = [{"prompt": word, "product": key} for key, word in products]
    pairs = [
        {"prompt": form.format(other=other, product=word), "product": key, axis: value}
        for axis, form in _PAIRS.items()
        for value, others in AXES[axis].items()
        for other, (key, word) in every(others, products)
    ]
    return single + random.Random(seed).sample(pairs, count - len(single))


_PAIRS = {
    "colour": "{other} {product}",
    "pattern": "{other} {product}",
    "background": "{product} {other}",
    "style": "{product}, {other}",
}

if __name__ == "__main__":
    write_sets()
