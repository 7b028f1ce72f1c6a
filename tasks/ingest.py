"""Ingestion: rows from the user's own database or file become prompts.

Good rows go on, bad ones are listed with their number and a reason, and one bad row never stops a
night.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hierdiff_core.cell import is_absent
from hierdiff_core.errors import HierdiffError, MissingColumn
from hierdiff_core.printable import brief, printable_line
from hierdiff_core.prompt import Prompt, normal_text, read_pictures
from hierdiff_core.recipe import Recipe
from tasks.errors import BadRow, EmptyBatch, RepeatedColumn
from tasks.rejected import Rejected
from tasks.source.columns import Columns
from tasks.source.source_row import SourceRow

_REASON_LENGTH = 500
_NOTES = 20
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
# What a byte becomes that is not of a file's encoding.
_UNDECODED = re.compile("[\udc80-\udcff]")
_MANY = 0.1  # share of the prompts from which tags are worth a note


@dataclass(frozen=True, slots=True)
class Ingested:
    """The prompts and the rejected rows of a source."""

    prompts: tuple[Prompt, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()  # what was seen and is no fault, each in a sentence


def read_batch(
    rows: Iterable[SourceRow],
    recipe: Recipe,
    check: Callable[[Prompt], None] = lambda prompt: None,
    columns: Columns | None = None,
    variants: int = 1,
) -> Ingested:
    """Return the prompts and the rejected rows of a source.

    A row has as many pictures as it says, or `variants`. `check` raises what a model cannot take of
    a prompt, such as its length. Raises MissingColumn where no row has a `prompt`, RepeatedColumn,
    UnknownColumn for a name of `columns` that no row has, and EmptyBatch where no good row is left.
    """
    columns = columns or Columns()
    prompts: list[Prompt] = []
    faults: list[tuple[int, HierdiffError]] = []
    named: dict[str, Prompt] = {}  # by reference, the first
    for row in rows:
        try:
            pictures = _read(row, recipe, columns, check, variants)
            for prompt in pictures:
                _refuse_other(named.setdefault(prompt.name, prompt), prompt)
            prompts += pictures
        except HierdiffError as fault:
            faults.append((row.number, fault))
    columns.check()
    if not prompts:
        raise _nothing([fault for _, fault in faults])
    rejected = tuple(Rejected(number, _reason(number, fault)) for number, fault in faults)
    notes = (*list(columns.notes)[:_NOTES], *_tag_note(prompts))
    return Ingested(tuple(prompts), rejected, notes)


def _read(
    row: SourceRow,
    recipe: Recipe,
    columns: Columns,
    check: Callable[[Prompt], None],
    variants: int,
) -> tuple[Prompt, ...]:
    """Return a row's pictures; whatever is wrong with it is an error that names the row."""
    cells: dict[str, object] = {}
    try:
        if row.columns:
            cells = columns.find(row)
        if row.fault:
            raise BadRow(row=row.number, reason=row.fault)
        cells |= columns.fill(row)
        _refuse_undecoded(row.number, cells)
        pictures = read_pictures(row.number, cells, recipe, variants)
        check(pictures[0])
    except HierdiffError as fault:
        raise _with_reference(fault, cells.get("reference")) from None
    except Exception as fault:  # no row may stop a night, whatever it holds
        reason = f"it cannot be read ({type(fault).__name__}: {fault})"
        raise BadRow(row=row.number, reason=reason) from None
    return pictures


def _refuse_undecoded(row: int, cells: Mapping[str, object]) -> None:
    for name, value in cells.items():
        if isinstance(value, str) and _UNDECODED.search(value):
            reason = (
                f"its {name} has bytes that are not of the file's encoding; say which one it is "
                "with HIERDIFF_SOURCE_ENCODING or --encoding, such as cp1252"
            )
            raise BadRow(row=row, reason=reason)


def _with_reference(fault: HierdiffError, reference: object) -> HierdiffError:
    """Return an error that names its row by the user's own name for it too."""
    if "row" not in fault.facts or is_absent(reference):
        return fault
    name = printable_line(str(brief(reference)), 80)
    return type(fault)(**fault.facts | {"row": f"{fault.facts['row']} ({name})"})


def _refuse_other(first: Prompt, prompt: Prompt) -> None:
    """Raise BadRow where a reference stands for two texts: neither picture could be told."""
    if normal_text(first.text) != normal_text(prompt.text):
        place = f"{prompt.row} ({printable_line(prompt.name, 80)})"
        reason = f"row {first.row} has its reference and another prompt"
        raise BadRow(row=place, reason=reason)


def _reason(row: int, fault: HierdiffError) -> str:
    # It may quote the row, which may hold what no database takes, or a whole book.
    text = str(fault) if "row" in fault.facts else f"Row {row}: {fault}"
    return printable_line(text, _REASON_LENGTH)


def _nothing(faults: list[HierdiffError]) -> HierdiffError:
    if not faults:
        return EmptyBatch(reason="the source has no rows")
    if all(isinstance(fault, MissingColumn | RepeatedColumn) for fault in faults):
        return faults[0]
    first = printable_line(str(faults[0]), _REASON_LENGTH).rstrip(".")
    return EmptyBatch(reason=f"all {len(faults)} rows were rejected, the first with: {first}")


def _tag_note(prompts: list[Prompt]) -> tuple[str, ...]:
    tagged = sum(1 for prompt in prompts if _TAG.search(prompt.text))
    if tagged <= _MANY * len(prompts):
        return ()
    return (
        f"{tagged:,} of {len(prompts):,} prompts hold HTML tags, which are taken to the letter.",
    )
