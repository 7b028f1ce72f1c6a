"""Ingestion: rows from the user's own database or file become prompts.

Knows sources and how a row is refused. Knows nothing of our tables. Good rows go on, bad ones are
listed with their number and a reason, and one bad row never stops a night.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hierdiff_core.errors import HierdiffError, MissingColumn
from hierdiff_core.prompt import Prompt, Recipe, read_prompt
from tasks.errors import BadRow, EmptyBatch
from tasks.sources import Row


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that no picture can be made of."""

    row: int  # as the source counts it
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a source held."""

    prompts: tuple[Prompt, ...]
    rejected: tuple[Rejected, ...]


def read_batch(
    rows: Iterable[Row],
    recipe: Recipe,
    check: Callable[[Prompt], None] = lambda prompt: None,
) -> Ingested:
    """Return the prompts and the rejected rows of a source.

    `check` raises what a model cannot take of a prompt, such as its length. Raises MissingColumn
    where no row has a `prompt`, and EmptyBatch where no good row is left.
    """
    prompts: list[Prompt] = []
    faults: list[tuple[int, HierdiffError]] = []
    for row in rows:
        try:
            prompt = _read(row, recipe)
            check(prompt)
            prompts.append(prompt)
        except HierdiffError as fault:
            faults.append((row.number, fault))
    if not prompts:
        raise _nothing([fault for _, fault in faults])
    rejected = tuple(Rejected(number, str(fault)) for number, fault in faults)
    return Ingested(tuple(prompts), rejected)


def _read(row: Row, recipe: Recipe) -> Prompt:
    if row.fault:
        raise BadRow(row=row.number, reason=row.fault)
    for column, value in row.columns.items():
        for fault in _unstorable(column, value):
            raise BadRow(row=row.number, reason=fault)
    return read_prompt(row.number, row.columns, recipe)


def _unstorable(column: str, value: object) -> Iterator[str]:
    # What PostgreSQL's text cannot hold; found here it costs one row, found there the night.
    if not isinstance(value, str):
        return
    if "\x00" in value:
        yield f"column {column!r} holds a NUL character"
    if any("\ud800" <= character <= "\udfff" for character in value):
        yield f"column {column!r} is not valid UTF-8"


def _nothing(faults: list[HierdiffError]) -> HierdiffError:
    if not faults:
        return EmptyBatch(reason="the source has no rows")
    if all(isinstance(fault, MissingColumn) for fault in faults):
        return faults[0]
    return EmptyBatch(reason=f"all {len(faults)} rows were refused, the first because: {faults[0]}")
