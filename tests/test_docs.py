"""What the pages say can be done: links lead somewhere, commands, settings and names exist."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import click
import pytest

from flows.cli import cli
from hierdiff_core.models.families import FAMILIES
from hierdiff_core.models.families import options_of as options_in
from tasks import object_keys
from tasks.records import Base
from tasks.settings import OPTION_PREFIX, PREFIX, Settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
BESIDE = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")]
PAGES = [README, *DOCS, *BESIDE]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w/-])hierdiff ([a-z]+)([^\n#`|]*)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def fences(page: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(page.read_text()) if found == language]


def code(page: Path) -> Iterator[str]:
    """Yield what stands in code, be it a block or between backticks in a line."""
    text = page.read_text()
    yield from (body for _, body in FENCE.findall(text))
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made where pages are read."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def options_of(command: click.Command) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


@each_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_every_command_and_its_options_exist(page: Path) -> None:
    context = click.Context(cli)
    for text in code(page):
        for name, rest in COMMAND.findall(text):
            command = cli.get_command(context, name)
            assert command is not None, f"hierdiff {name}"
            unknown = set(re.findall(r"(?<!\S)--[a-z-]+", rest)) - options_of(command) - {"--help"}
            assert not unknown, f"hierdiff {name}{rest}"


@each_page
def test_every_target_of_make_exists(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for text in code(page):
        named = re.findall(r"(?:^|&& )make (?:[A-Z]+=\S+ )?([a-z]+)", text, re.MULTILINE)
        assert set(named) <= set(targets), text


@each_page
def test_every_setting_exists(page: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for family in FAMILIES.values():
        known |= {f"{OPTION_PREFIX}{each.name.upper()}" for each in options_in(family)}
    known.add(OPTION_PREFIX.rstrip("_"))  # the prefix by itself
    named = set(re.findall(rf"{PREFIX}[A-Z0-9_]*[A-Z0-9]", page.read_text()))
    assert named <= known, named - known


@each_page
def test_every_python_block_compiles_and_its_names_can_be_imported(page: Path) -> None:
    for block in fences(page, "python"):
        tree = ast.parse(block)
        modules: dict[str, ModuleType] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    modules[alias.asname or alias.name] = importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                missing = [each.name for each in node.names if not hasattr(module, each.name)]
                assert not missing, (node.module, missing)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                assert module is None or hasattr(module, node.attr), ast.unparse(node)


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(README.read_text().splitlines()) <= 125


def test_the_readme_and_the_index_lead_to_every_page() -> None:
    for start in (README, ROOT / "docs/index.md"):
        links = {start.parent / link.partition("#")[0] for link in LINK.findall(start.read_text())}
        reached = {link.resolve() for link in links} | {start}
        assert set(DOCS) <= reached, start


def test_the_readme_names_every_command() -> None:
    named = {name for text in code(README) for name, _ in COMMAND.findall(text)}
    assert named >= set(cli.list_commands(click.Context(cli)))


def test_the_page_of_models_names_every_family() -> None:
    page = (ROOT / "docs/models.md").read_text()
    for class_name, family in FAMILIES.items():
        assert f"`{class_name}`" in page
        assert f"`{family}`" in page


def test_the_picture_names_every_table_and_every_folder_of_the_bucket() -> None:
    picture = ElementTree.parse(ROOT / "docs/architecture.svg").getroot()
    words = set(" ".join(picture.itertext()).split())
    assert set(Base.metadata.tables) <= words
    keys = [make for name, make in vars(object_keys).items() if name.endswith("_key")]
    assert {make("x").partition("/")[0] + "/" for make in keys} <= words
