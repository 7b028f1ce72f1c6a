"""The command that lists every setting: its name, its default and what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hierdiff_core.models.families import FAMILIES, options_of
from tasks.settings import OPTION_PREFIX, PREFIX, Settings

_HEAD = """# Settings

Every setting is an environment variable; an empty one counts as unset. `hierdiff settings` prints
this list, which is made from the code.
"""


@click.command()
@click.option("--markdown", is_flag=True, help="print the page docs/settings.md")
def settings(markdown: bool) -> None:
    """List every setting with its default and what it is for."""
    click.echo(settings_page() if markdown else settings_list() + "\n", nl=False)


def settings_list() -> str:
    """Return the settings as lines for a terminal."""
    rows = [*_settings(), *(row for _, rows in _options() for row in rows)]
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"{name:{width}}  {meaning} [{default}]" for name, default, meaning in rows)


def settings_page() -> str:
    """Return the settings as a page in Markdown."""
    parts = [_HEAD, *_table(_settings())]
    for family, rows in _options():
        parts += [f"\n## Options of the family `{family}`\n", *_table(rows)]
    return "\n".join(parts) + "\n"


def _settings() -> list[tuple[str, str, str]]:
    return [
        (f"{PREFIX}{name.upper()}", _default(field), field.description or "")
        for name, field in Settings.model_fields.items()
        if name != "options"
    ]


def _options() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    for family in sorted(FAMILIES.values()):
        options = options_of(family)
        if options:
            yield (
                family,
                [
                    (f"{OPTION_PREFIX}{option.name.upper()}", str(option.default), option.meaning)
                    for option in options
                ],
            )


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    return "" if value is None or value is PydanticUndefined else str(value)


def _table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, default, meaning in rows:
        code = f"`{default}`" if default else ""
        yield f"| `{name}` | {code} | {meaning} |"
