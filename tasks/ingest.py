"""Ingestion: rows from the user's own database or file become prompts.

Good rows go on, bad ones are listed with their number and a reason, and one bad row never stops a
night.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hierdiff_core.errors import HierdiffError, MissingColumn
from hierdiff_core.prompt import Prompt, read_prompt
from hierdiff_core.recipe import Recipe
from tasks.errors import BadRow, EmptyBatch
from tasks.sources import SourceRow

_REASON_LENGTH = 500
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that no picture can be made of."""

    row: int  # as the source counts it
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """The prompts and the rejected rows of a source."""

    prompts: tuple[Prompt, ...]
    rejected: tuple[Rejected, ...]


def read_batch(
    rows: Iterable[SourceRow],
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
    rejected = tuple(Rejected(number, _storable(str(fault))) for number, fault in faults)
    return Ingested(tuple(prompts), rejected)


def _read(row: SourceRow, recipe: Recipe) -> Prompt:
    if row.fault:
        raise BadRow(row=row.number, reason=row.fault)
    return read_prompt(row.number, row.columns, recipe)


def _storable(reason: str) -> str:
    # A reason may quote the row, which may hold what no database takes, or a whole book.
    return textwrap.shorten(_UNWRITABLE.sub("\ufffd", reason), _REASON_LENGTH, placeholder=" ...")


def _nothing(faults: list[HierdiffError]) -> HierdiffError:
    if not faults:
        return EmptyBatch(reason="the source has no rows")
    if all(isinstance(fault, MissingColumn) for fault in faults):
        return faults[0]
    first = _storable(str(faults[0])).rstrip(".")
    return EmptyBatch(reason=f"all {len(faults)} rows were rejected, the first with: {first}")
