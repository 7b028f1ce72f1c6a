"""Isolation: of a call that fails, which of its rows are to blame?

A call is halved until a row stands alone. A device that cannot compute a blank row either is to
blame itself, and no row is. Calls keep their shape throughout, so the other rows keep their bits.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hierdiff_core.errors import HierdiffError
from hierdiff_core.plan import Segment

Row = TypeVar("Row")
Result = TypeVar("Result")

_LENGTH = 300  # characters of a reason
NOT_FINITE = "its latents are not finite numbers"


@dataclass(frozen=True, slots=True)
class Failure:
    """A segment that failed alone."""

    segment: Segment
    reason: str


def try_call(call: Callable[[], Result]) -> Result | Exception:
    """Return what a call returns, or the error that it raises, without the memory that it holds.

    Raises a HierdiffError, which is never a row's fault.
    """
    try:
        return call()
    except HierdiffError:
        raise
    except Exception as error:
        # A traceback holds the tensors of the failed call; its text does not.
        error.add_note(traceback.format_exc())
        return error.with_traceback(None)


def by_halves(
    rows: Sequence[Row], call: Callable[[Sequence[Row]], Result]
) -> Iterator[tuple[Sequence[Row], Result | Exception]]:
    """Yield parts of the rows, in order, each with its result or, of one row, with its error."""
    outcome = try_call(lambda: call(rows))
    if not isinstance(outcome, Exception) or len(rows) == 1:
        yield rows, outcome
        return
    middle = len(rows) // 2
    yield from by_halves(rows[:middle], call)
    yield from by_halves(rows[middle:], call)


def reason_of(error: BaseException) -> str:
    """Return an error as one line without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    named = f"{type(error).__name__}: {line}" if line else type(error).__name__
    return named if len(named) <= _LENGTH else named[: _LENGTH - 1] + "…"
