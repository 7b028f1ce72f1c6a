"""Options that several commands share."""

from __future__ import annotations

import click


def _read(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} is not of the form NAME=VALUE", context, parameter)
    return {name: value for name, _, value in pairs}


family_options = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_read,
    help="an option of the model's family; HIERDIFF_OPTION_NAME unless given",
)
