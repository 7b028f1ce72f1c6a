"""The command that lists every setting: its name, its default and what it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hierdiff_core.models.families import COMMON, FAMILIES, Option, options_of
from tasks.machine_settings import MachineSettings
from tasks.night_settings import NightSettings
from tasks.settings import OPTION_PREFIX, PREFIX

_HEAD = """# Settings

Every setting is an environment variable; an empty one counts as unset, and a name that is not in
these lists is refused. `hierdiff settings` prints this list, which is made from the code.
"""
_PARTS: Mapping[str, tuple[type[BaseModel], str]] = {
    "The night's": (
        NightSettings,
        "Decided where a night is started (`hierdiff run`, the form in the Prefect UI) or\n"
        "scheduled (`hierdiff deploy`), and recorded with it. They are sent to the workers, whose\n"
        "own environment does not count for them.",
    ),
    "The machine's": (
        MachineSettings,
        "Read from the environment of each process. Every machine has its own.",
    ),
}


@click.command()
@click.option("--markdown", is_flag=True, help="print the page docs/settings.md")
def settings(markdown: bool) -> None:
    """List every setting with its default and what it is for."""
    click.echo(settings_page() if markdown else settings_list() + "\n", nl=False)


def settings_list() -> str:
    """Return the settings as lines for a terminal."""
    parts = {title: _settings(kind) for title, (kind, _) in _PARTS.items()}
    parts |= {title.replace("`", ""): rows for title, rows in _options()}
    width = max(len(name) for rows in parts.values() for name, _, _ in rows)
    lines = []
    for title, rows in parts.items():
        lines += ["", title]
        lines += [f"{name:{width}}  {meaning} [{default}]" for name, default, meaning in rows]
    return "\n".join(lines[1:])


def settings_page() -> str:
    """Return the settings as a page in Markdown."""
    parts = [_HEAD.rstrip()]
    for title, (kind, meaning) in _PARTS.items():
        parts += [f"\n## {title}\n\n{meaning}\n", *_table(_settings(kind))]
    for title, rows in _options():
        parts += [f"\n## {title}\n", *_table(rows)]
    return "\n".join(parts) + "\n"


def _settings(kind: type[BaseModel]) -> list[tuple[str, str, str]]:
    return [
        (f"{PREFIX}{name.upper()}", _default(field), field.description or "")
        for name, field in kind.model_fields.items()
        if name != "options"
    ]


def _options() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    yield "Options of every family", _rows(COMMON)
    for family in sorted(set(FAMILIES.values())):
        if own := options_of(family)[: -len(COMMON)]:
            yield f"Options of the family `{family}`", _rows(own)


def _rows(options: Sequence[Option]) -> list[tuple[str, str, str]]:
    return [
        (f"{OPTION_PREFIX}{option.name.upper()}", str(option.default), option.meaning)
        for option in options
    ]


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    return "" if value is None or value is PydanticUndefined else str(value)


def _table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, default, meaning in rows:
        code = f"`{default}`" if default else ""
        yield f"| `{name}` | {code} | {meaning} |"
