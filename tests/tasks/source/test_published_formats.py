"""Files as shops export them and as prompt sets are published are read as they are.

The files under `feeds` have the columns, separators and quoting of the published layouts; what
stands in them is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hierdiff_core.errors import MissingColumn
from tasks.ingest import read_batch
from tasks.rejected import by_kind
from tasks.source.columns import Columns
from tasks.source.file import read_file
from tasks.source.template import read_template
from tests.tasks.conftest import RECIPE

FEEDS = Path(__file__).parent / "feeds"


@dataclass(frozen=True)
class Feed:
    """A published format and what is to come out of its sample."""

    file: str
    prompts: Mapping[str, str]  # by reference
    columns: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    rejected: Sequence[str] = ()  # a line for each kind


FEEDS_READ = [
    Feed(
        "google_merchant.tsv",
        {
            "00171": "a photo of Stoneware mug, sage green, on a white background",
            "00173": "a photo of Oak side table, natural oak, on a white background",
        },
        {"reference": "id"},
        "a photo of {title}, {color}, on a white background",
        ["Row 3 (00172): it has no 'color', which the template needs; correct it or drop the row."],
    ),
    Feed(
        "shopify.csv",
        {"rain-jacket": "Rain jacket, Yellow", "wool-hat": "Wool hat, Grey"},
        {"reference": "Handle"},
        "{Title}, {Option1 Value}",
        [
            "Row 4 (rain-jacket): it has no 'Title', which the template needs; correct it or drop "
            "the row. The same holds for 1 more: 5."
        ],
    ),
    Feed(
        "woocommerce.csv",
        {
            "woo-vneck": "V-Neck T-shirt",
            "woo-vneck-red": "V-Neck T-shirt - Red",
            "woo-belt": "Belt",
        },
        {"reference": "SKU", "prompt": "Name"},
    ),
    Feed(
        "akeneo.csv",
        {"1111111171": "Bag, small, black", "1111111172": "Belt, red"},
        {"reference": "sku"},
        "{name-en_US}, {color}",
        [
            "Row 4 (1111111173): it has no 'name-en_US', which the template needs; correct it or "
            "drop the row."
        ],
    ),
    Feed(
        "parti_prompts.tsv",
        {
            "2": "gravity",
            "3": 'a sign that says "open late"',
            "4": '"quiet please" written on a library door',
            "5": "two owls, one asleep",
        },
    ),
    Feed(
        "genai_bench.json",
        {
            "00000": "a baker holding two loaves",
            "00001": "three kites over a field",
            "00002": "a lamp to the left of a radio",
        },
    ),
    Feed(
        "drawbench.csv",
        {
            "2": "A blue bicycle and a yellow bench.",
            "3": "Four cups on a shelf, one tipped over.",
            "4": 'A "hello" painted on a wall.',
        },
    ),
]


@pytest.mark.parametrize("feed", FEEDS_READ, ids=lambda feed: feed.file)
def test_a_published_format_is_read_as_it_is(feed: Feed) -> None:
    columns = Columns(feed.columns, read_template(feed.template) if feed.template else None)
    batch = read_batch(read_file(FEEDS / feed.file), RECIPE, columns=columns)
    assert {prompt.reference: prompt.text for prompt in batch.prompts} == feed.prompts
    assert [kind.line() for kind in by_kind(batch.rejected)] == list(feed.rejected)
    assert batch.notes == ()


def test_a_feed_without_a_prompt_names_the_columns_that_it_has() -> None:
    with pytest.raises(MissingColumn, match=r"the source has id, title, .*--column prompt=NAME"):
        read_batch(read_file(FEEDS / "google_merchant.tsv"), RECIPE)
