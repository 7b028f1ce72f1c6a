"""A prompt with a refused word becomes no picture, and its row says which word it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.ingest import read_batch
from tasks.settings import Settings
from tasks.source.limits import Limits
from tasks.source.refused_words import open_refused_words
from tasks.source.source_row import SourceRow
from tests.tasks.conftest import RECIPE


def reasons(settings: Settings, *texts: str) -> list[str]:
    """Return why rows of some prompts, and of a mug, are rejected."""
    prompts = enumerate(("a red mug", *texts), 1)
    rows = [SourceRow(row, {"prompt": text, "reference": f"A-{row}"}) for row, text in prompts]
    found = read_batch(rows, RECIPE, open_refused_words(settings, Limits()))
    return [each.reason for each in found.rejected]


@pytest.mark.parametrize(
    "text",
    [
        "a toy gun",
        "a Toy GUN, red",
        "a gun-shaped mug",
        "a g\u200bun",  # with a space of no width between
        "a \uff47\uff55\uff4e",  # in full width
        "a bloody\n  mary",
        "一把手枪的照片",
    ],
)
def test_a_refused_word_is_found_in_any_case_and_form(text: str) -> None:
    settings = Settings(refused_words="gun, Bloody Mary,手枪,")
    (reason,) = reasons(settings, text)
    assert reason.startswith("Row 2 (A-2): its prompt has the refused word ")


def test_a_refused_word_inside_another_one_is_none() -> None:
    settings = Settings(refused_words="gun, c++ (x|y)*")
    assert reasons(settings, "a gunmetal begun shotgun mug", "c++ x") == []


def test_refused_words_are_read_from_a_file_with_remarks(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# none of these\n\nknife\r\n  sharp  blade \n")
    settings = Settings(refused_words="gun", refused_words_file=file)
    found = reasons(settings, "a knife", "a sharp blade", "a gun", "a blade")
    assert [each.rpartition("word ")[2] for each in found] == [
        "'knife'; correct it or drop the row.",
        "'sharp blade'; correct it or drop the row.",
        "'gun'; correct it or drop the row.",
    ]
