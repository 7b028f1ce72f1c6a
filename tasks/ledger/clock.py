"""The ledger's clock: the database's own, the only one that all workers share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, cast, func


def now() -> ColumnElement[datetime]:
    """The time at this moment, where SQL's now() is that of the transaction's start."""
    moment: ColumnElement[datetime] = func.clock_timestamp()
    return moment


def after(seconds: float) -> ColumnElement[datetime]:
    """The time some seconds from now."""
    return now() + func.make_interval(0, 0, 0, 0, 0, 0, cast(seconds, Float))


def seconds_until(moment: Any) -> ColumnElement[float]:
    """Seconds from now until a column's time."""
    return cast(func.extract("epoch", moment - now()), Float)
