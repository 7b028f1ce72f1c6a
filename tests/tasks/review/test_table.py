"""Verdicts go out as a table and come back from one; a bad row gets one line and stops no other."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tasks.ledger import find_verdicts, list_verdicts, named_pictures
from tasks.review.table import export_verdicts, import_verdicts
from tasks.settings import Settings
from tasks.source.file import read_file
from tasks.stores import Stores, open_stores
from tests.tasks.conftest import NIGHT
from tests.tasks.gc.nights import StoredNight, finish, plan_night


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        yield opened


@pytest.fixture
def night(stores: Stores) -> StoredNight:
    made = plan_night(stores, (1, 2, 3, 4))
    finish(stores, made)
    return made


def write(folder: Path, *lines: str) -> Path:
    file = folder / "verdicts.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_good_rows_are_kept_and_each_bad_one_gets_a_line(
    stores: Stores, night: StoredNight, tmp_path: Path
) -> None:
    file = write(
        tmp_path,
        "Reference,Verdict,Reason,Reviewer,sha256",
        "SKU-1,accepted,,,",
        "SKU-2,Reject,two handles,bob,",
        "SKU-3,,no opinion,,",
        "SKU-9,accepted,,,",
        "SKU-4,perhaps,,,",
        f"SKU-4,accepted,,,{'0' * 64}",
        ",accepted,,,",
        'SKU-4,"accepted,,,',
    )
    found = import_verdicts(stores, night.run, read_file(file), "ann")
    assert (found.given, found.same) == (2, 0)
    assert [each.row for each in found.bad] == [5, 6, 7, 8, 9]
    lines = [each.reason for each in found.bad]
    for line, words in zip(
        lines,
        ("SKU-9", "'perhaps', not one of", "another one by now", "no reference", "quote"),
        strict=True,
    ):
        assert words in line
        assert line.startswith("Row ")
    with stores.session() as session:
        pictures = named_pictures(session, night.run)
        known = find_verdicts(session, "shop", pictures.values())
    said = {each.name: (each.verdict, each.reason, each.reviewer) for each in known.values()}
    assert said == {
        "SKU-1": ("accepted", "", "ann"),
        "SKU-2": ("rejected", "two handles", "bob"),
    }


def test_a_table_that_was_written_comes_back_and_says_nothing_new(
    stores: Stores, night: StoredNight, tmp_path: Path
) -> None:
    formula = '=HYPERLINK("http://x")'
    rows = ("reference,verdict,reason", f'SKU-1,rejected,"{formula.replace(chr(34), chr(34) * 2)}"')
    import_verdicts(stores, night.run, read_file(write(tmp_path, *rows)), "ann")
    out = io.StringIO()
    assert export_verdicts(stores, night.run, out) == 4
    cells = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert cells[0]["reason"] == f"'{formula}"
    again = tmp_path / "again.csv"
    again.write_text(out.getvalue())
    found = import_verdicts(stores, night.run, read_file(again), "bob")
    assert (found.given, found.same, found.bad) == (0, 1, ())
    with stores.session() as session:
        assert [each.reason for each in list_verdicts(session, "shop", "SKU-1")] == [formula]


def test_the_statement_of_the_page_of_reviews_says_what_it_means(
    stores: Stores, night: StoredNight
) -> None:
    page = (Path(__file__).parents[3] / "docs/review.md").read_text()
    found = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert found is not None
    statement = found[1].replace("shoes", "shop").replace("A-17", "SKU-1")
    with stores.session() as session:
        session.execute(text(statement.replace("2026-11-30", NIGHT.isoformat())))
        (said,) = list_verdicts(session, "shop", "SKU-1")
        assert said.sha256 == named_pictures(session, night.run)["SKU-1"]
    assert (said.verdict, said.reason) == ("rejected", "two handles")
