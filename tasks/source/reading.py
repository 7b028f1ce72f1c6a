"""Reading as the settings say: which source, how its columns are called, how much of it at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hierdiff_core.errors import InvalidSetting
from hierdiff_core.prompt import Prompt, refuse_column
from hierdiff_core.recipe import Recipe
from tasks.errors import NoSource, TooManyRows
from tasks.settings import Settings
from tasks.source.columns import Columns
from tasks.source.database import read_query
from tasks.source.file import read_file
from tasks.source.limits import Limits
from tasks.source.source_row import SourceRow
from tasks.source.template import read_template

_SIDES = ("height", "width")


def open_source(
    settings: Settings, query: str | None = None, file: Path | None = None
) -> Iterator[SourceRow]:
    """Return the rows of a query or a file, the settings' own where neither is given.

    Raises InvalidSetting where both are, NoSource, TooManyRows, and what the source raises.
    """
    if query is not None and file is not None:
        hint = "--query is given too; use one of the two"
        raise InvalidSetting(setting="--file", value=str(file), hint=hint)
    limits = read_limits(settings)
    file = file or settings.source_file
    if query is None and file is not None:
        return _limited(
            read_file(file, encoding=settings.source_encoding or "", limits=limits), limits
        )
    query = query or settings.source_query
    if settings.source_url is None or query is None:
        raise NoSource()
    return _limited(read_query(settings.source_url.get_secret_value(), query, limits), limits)


def read_limits(settings: Settings) -> Limits:
    """Return how much of a source is read at most."""
    return Limits(settings.source_megabytes, settings.source_seconds, settings.source_rows)


def open_columns(settings: Settings) -> Columns:
    """Return what the settings say of the source's columns; raises InvalidSetting."""
    text = settings.source_template
    if text and "prompt" in settings.source_columns:
        hint = "a column for `prompt` is named too; use one of the two"
        raise InvalidSetting(setting="HIERDIFF_SOURCE_TEMPLATE", value=text, hint=hint)
    return Columns(settings.source_columns, read_template(text) if text else None)


def size_check(settings: Settings, recipe: Recipe) -> Callable[[Prompt], None]:
    """Return a check that raises WrongType for a row whose picture is too large.

    Raises InvalidSetting where the recipe of all rows is.
    """
    most = settings.largest_side
    for name in _SIDES:
        if getattr(recipe, name) > most:
            hint = f"use at most {most} pixels, or raise HIERDIFF_LARGEST_SIDE"
            raise InvalidSetting(setting=name, value=getattr(recipe, name), hint=hint)

    def check(prompt: Prompt) -> None:
        for name in _SIDES:
            size = getattr(prompt.recipe, name)
            if size > most:
                hint = f"at most {most} pixels (HIERDIFF_LARGEST_SIDE)"
                raise refuse_column(prompt.row, InvalidSetting(setting=name, value=size, hint=hint))

    return check


def _limited(rows: Iterator[SourceRow], limits: Limits) -> Iterator[SourceRow]:
    for count, row in enumerate(rows, start=1):
        if count > limits.rows:
            raise TooManyRows(limit=limits.rows)
        yield row
