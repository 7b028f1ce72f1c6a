"""Verdicts as a table: written for a spreadsheet, and read back row by row."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TextIO

from sqlalchemy.orm import Session

from hierdiff_core.cell import is_absent
from hierdiff_core.errors import HierdiffError
from hierdiff_core.printable import printable_line
from tasks.errors import BadRow
from tasks.ledger import (
    NewVerdict,
    StoredVerdict,
    catalogue_of_run,
    find_verdicts,
    load_images,
    load_pairs,
    load_plan,
    record_verdicts,
)
from tasks.rejected import Rejected
from tasks.review.give import Said, read_pictures_of
from tasks.source.columns import fold
from tasks.source.source_row import SourceRow
from tasks.states import VerdictState
from tasks.stores import Stores

COLUMNS = ("reference", "verdict", "reason", "reviewer", "at", "sha256")
FACTS = ("loss", "measured_loss", "distance")  # that stand beside them; not read back
_LENGTH = 300  # characters of the line of a bad row
_WORDS = {"accept": "accepted", "reject": "rejected", "withdraw": "withdrawn"}


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a table of verdicts."""

    given: int  # verdicts that were kept
    same: int  # rows that say what holds already
    bad: tuple[Rejected, ...]  # rows that could not be used


def import_verdicts(
    stores: Stores, run: uuid.UUID, rows: Iterable[SourceRow], reviewer: str
) -> Imported:
    """Keep the verdicts of a table on the pictures of a run; one bad row stops no other.

    A row names its picture in `reference` and has a `verdict`; one without a verdict says nothing.
    With a `sha256` it holds for that picture only. Raises UnknownRun and what the table raises.
    """
    with stores.session() as session:
        catalogue, pictures = catalogue_of_run(session, run), read_pictures_of(session, run)
        given: list[NewVerdict] = []
        bad: list[Rejected] = []
        for row in rows:
            try:
                said = _read(row)
                if said is not None:
                    given.append(pictures.check(replace(said, reviewer=said.reviewer or reviewer)))
            except HierdiffError as fault:
                reason = str(fault) if "row" in fault.facts else f"Row {row.number}: {fault}"
                bad.append(Rejected(row.number, printable_line(reason, _LENGTH)))
        known = find_verdicts(session, catalogue, {each.sha256 for each in given})
        fresh = [each for each in given if not _says(known.get(each.sha256), each)]
        record_verdicts(session, catalogue, fresh)
    return Imported(len(fresh), len(given) - len(fresh), tuple(bad))


def export_verdicts(stores: Stores, run: uuid.UUID, file: TextIO) -> int:
    """Write a row for each picture of a run, with what holds of it; return how many."""
    with stores.session() as session:
        catalogue, pictures = catalogue_of_run(session, run), read_pictures_of(session, run)
        known = find_verdicts(session, catalogue, set(pictures.digests.values()))
        losses = _losses(session, run)
    table = csv.writer(file)
    table.writerow((*COLUMNS, *FACTS))
    for name, sha256 in pictures.digests.items():
        said = known.get(sha256)
        facts = ("", "", "", "")
        if said is not None:
            at = said.created_at.isoformat(timespec="seconds")
            facts = (said.verdict.value, said.reason, said.reviewer, at)
        table.writerow([*map(_cell, (name, *facts)), sha256, *losses[sha256]])
    return len(pictures.digests)


def _losses(session: Session, run: uuid.UUID) -> dict[str, tuple[str, ...]]:
    """Return the facts of each picture by its sha256: predicted, then measured, if it was."""
    leaves, pairs = load_plan(session, run).leaves, load_pairs(session, run)
    found = {}
    for leaf, image in load_images(session, run).items():
        pair = pairs.get(leaf)
        measured = (None, None) if pair is None else (pair.loss, pair.distance)
        rounded = ("" if each is None else f"{each:.4g}" for each in (leaves[leaf].loss, *measured))
        found[image.sha256] = tuple(rounded)
    return found


def _read(row: SourceRow) -> Said | None:
    """Return what a row says; None where it says nothing."""
    if row.fault:
        raise BadRow(row=row.number, reason=row.fault)
    cells = {fold(name): value for name, value in row.columns.items()}
    if is_absent(cells.get("verdict")) and "verdict" in cells:
        return None
    for name in ("reference", "verdict"):
        if is_absent(cells.get(name)):
            raise BadRow(row=row.number, reason=f"it has no {name}")
    others = {name: _text(cells, name) for name in ("reason", "reviewer", "sha256")}
    verdict = _verdict(row.number, _text(cells, "verdict"))
    return Said(_text(cells, "reference"), verdict, **others)


def _text(cells: Mapping[str, object], name: str) -> str:
    value = cells.get(name)
    text = "" if is_absent(value) else str(value).strip()
    return text[1:] if _is_formula(text[1:]) and text[0] == "'" else text


def _verdict(row: int, word: str) -> VerdictState:
    plain = word.casefold()
    try:
        return VerdictState(_WORDS.get(plain, plain))
    except ValueError:
        known = ", ".join(VerdictState)
        reason = f"its verdict is {printable_line(word, 80)!r}, not one of {known}"
        raise BadRow(row=row, reason=reason) from None


def _says(known: StoredVerdict | None, said: NewVerdict) -> bool:
    """Whether what holds is what is said, whoever said it."""
    if known is None:
        return said.verdict is VerdictState.WITHDRAWN
    return (known.verdict, known.reason) == (said.verdict, said.reason)


def _cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return text.startswith(("=", "+", "-", "@"))
