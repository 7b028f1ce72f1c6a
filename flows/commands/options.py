"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from hierdiff_core.printable import brief, printable
from tasks.remake import read_remake
from tasks.settings import read_settings

_LONGEST = 100  # characters of a catalogue's name


def _read(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} is not of the form NAME=VALUE", context, parameter)
    return {name: value for name, _, value in pairs}


def _read_catalogue(context: click.Context, parameter: click.Parameter, given: str) -> str:
    # It is part of names, links and log lines.
    if not given.strip() or given != printable(given) or len(given) > _LONGEST:
        hint = f"{brief(given)!r} is no name: use 1 to {_LONGEST} printable characters"
        raise click.BadParameter(hint, context, parameter)
    return given


json_option = click.option("--json", "as_json", is_flag=True, help="machine-readable output")
catalogue_argument = click.argument("catalogue", callback=_read_catalogue)
family_options = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_read,
    help="an option of the model's family; HIERDIFF_OPTION_NAME unless given",
)


def remake_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which pictures are remade; the command gets them as one."""

    @click.option(
        "--remake",
        "names",
        metavar="all|rejected|REFERENCE,...",
        help="make pictures anew although they exist, planned like new rows by tonight's settings; "
        "equal steps give equal pictures, another seed gives others; `rejected` ones get a seed by "
        "themselves",
    )
    @click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        help="with --remake: make other pictures by this seed, from the steps that they share; "
        "later nights keep them",
    )
    @wraps(command)
    def remake(names: str | None, seed: int | None, **given: Any) -> Any:
        asked = read_remake(names or "", seed)
        if seed is not None and not asked.names:
            raise click.UsageError("--seed is for pictures to remake; name them with --remake")
        return command(remake=asked, **given)

    return remake


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a source is read; the command gets them as settings."""

    @click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="OURS=THEIRS",
        callback=_read,
        help="what the source calls a column, such as prompt=title",
    )
    @click.option("--template", help='prompt over its columns: "a photo of {title}, {color}"')
    @click.option("--encoding", help="encoding of the file, such as cp1252; UTF-8 unless given")
    @wraps(command)
    def read(
        columns: dict[str, str], template: str | None, encoding: str | None, **given: Any
    ) -> Any:
        return command(reading=_reading(columns, template, encoding), **given)

    return read


def _reading(
    columns: Mapping[str, str], template: str | None, encoding: str | None
) -> dict[str, object]:
    """Return the settings that options give; a prompt that is given replaces one that is set."""
    given: dict[str, object] = {}
    if columns or template:
        kept = dict(read_settings().source_columns)
        if template:
            kept.pop("prompt", None)
        given["source_columns"] = kept | dict(columns)
    if template or "prompt" in columns:
        given["source_template"] = template
    if encoding:
        given["source_encoding"] = encoding
    return given
