"""Any reference becomes the name of a file that is safe everywhere, and its own."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.handover.names import file_name, folder_name, slug

SHA256 = "ab" * 32
KINDS = (
    *("A-17", "a-17", "A_17", "A-17#2", "A 17", "A  17", " A-17", "A-17 ", "A.17", "A..17"),
    *(".", "..", "...", "/", "//", "\\", "../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd"),
    *(
        "a/b",
        "a\\b",
        "a//b",
        "./a",
        "a/",
        "/a",
        "C:\\x",
        "file:///x",
        "~root",
        "$HOME",
        "%2e%2e%2f",
    ),
    *("con", "CON", "nul", "NUL.txt", "com1", "LPT9", "aux.jpg"),
    *("", " ", "\t", "\n", "a\nb", "a\x00b", "\x7f", "\u202egnp.exe", "\ufeff", "\u200b"),
    *(
        "Stuhl Größe 7",
        "Stuhl Gr\u006f\u0308ße 7",
        "椅子",
        "כיסא",
        "🪑",
        "🪑🪑",
        "ﬁ",
        "fi",
        "Å",
        "A\u030a",
    ),
    *("İ", "i", "ſ", "s", "a" * 300, "a" * 299 + "b", "A" * 300, "é" * 300, "\ud83d"),
    *("index.json", "?q=1", "#2", "a&b", "<b>", '"quoted"', "'; DROP TABLE x; --", "*", "|", "a:b"),
)


def names(kinds: tuple[str, ...]) -> list[str]:
    return [file_name(each, SHA256, ".webp") for each in kinds]


def test_there_are_sixty_kinds_and_more() -> None:
    assert len(set(KINDS)) >= 60


def test_no_two_references_get_the_same_name_even_on_a_disk_that_folds_case() -> None:
    folded = {unicodedata.normalize("NFC", each).casefold() for each in names(KINDS)}
    assert len(folded) == len(set(KINDS))
    folders = {folder_name(each).casefold() for each in KINDS}
    assert len(folders) == len(set(KINDS))


@pytest.mark.parametrize("reference", KINDS, ids=range(len(KINDS)))
def test_no_reference_leads_out_of_its_folder(reference: str, tmp_path: Path) -> None:
    name = file_name(reference, SHA256, ".webp")
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[0-9a-f]{16}\.webp", name)
    assert len(name) <= 110
    assert not re.match(r"(con|prn|aux|nul|com\d|lpt\d)\.", name, re.IGNORECASE)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    folder = folder_name(reference)
    assert re.fullmatch(r"[A-Za-z0-9_~-]+", folder)
    assert (tmp_path / folder).resolve().parent == tmp_path.resolve()
    (tmp_path / folder).mkdir()
    (tmp_path / folder / name).write_bytes(b"")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400), st.text(max_size=400))
def test_names_are_safe_and_differ_as_the_references_do(one: str, other: str) -> None:
    first, second = names((one, other))
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[0-9a-f]{16}\.webp", first)
    assert (first.casefold() == second.casefold()) == (one == other)


def test_people_can_read_what_they_called_it() -> None:
    assert slug("Stuhl Größe 7, rot") == "Stuhl-Groe-7-rot"
    assert file_name("A-17", SHA256, ".jpg").startswith("A-17.")
    assert folder_name("shoes") == "shoes"
    assert folder_name("Shoes").startswith("Shoes~")


def test_another_picture_gets_another_name() -> None:
    assert file_name("A-17", SHA256, ".jpg") != file_name("A-17", "cd" * 32, ".jpg")
