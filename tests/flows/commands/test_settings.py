"""Every setting is documented, in the words of the code."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from flows.cli import cli
from flows.commands.settings import settings_page
from hierdiff_core.models.families import FAMILIES, options_of
from tasks.settings import Settings

PAGE = Path(__file__).parents[3] / "docs/settings.md"


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert PAGE.read_text() == settings_page(), "write it anew with `make docs`"


def test_every_setting_says_what_it_is_for() -> None:
    undocumented = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undocumented == []


def test_no_option_of_a_family_bears_the_name_of_a_setting() -> None:
    options = {each.name for name in FAMILIES.values() for each in options_of(name)}
    assert not options & set(Settings.model_fields)


def test_the_command_lists_them_all() -> None:
    done = CliRunner().invoke(cli, ["settings"])
    assert done.exit_code == 0
    named = {f"HIERDIFF_{name.upper()}" for name in Settings.model_fields if name != "options"}
    assert named <= set(done.output.split())
