"""The commands of the pages, run as they stand and in their order, on the whole stack.

What stands in for the reader's own things is named in MINE; commands that are run by another test,
or by nobody, in ELSEWHERE.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import cli, exit_code
from tests.flows.night_stack import night_stack

ROOT = Path(__file__).parents[2]
STORY = (
    "README.md", "docs/operations.md", "docs/tuning.md", "docs/evaluation.md", "docs/review.md",
    "docs/handover.md",
)  # fmt: skip
# Settings of the reader's own shop and model, and what they are here.
MINE = {
    "HIERDIFF_SOURCE_URL": "sqlite:///{shop}/shop.db",
    "HIERDIFF_RESULT_URL": "sqlite:///{shop}/shop.db",
    "HIERDIFF_MODEL": "hierdiff/miniature-decoder",
    "HIERDIFF_DTYPE": "float32",
}
ELSEWHERE = {
    r"hierdiff demo": "tests/flows/stack/test_standalone.py, and `make demo`",
    r"hierdiff standalone": "it is the stack of these tests",
    r"hierdiff review( shoes)?( --date \S+| --as \S+)?$": "serves until Ctrl-C; tests/tasks/review",
    r"hierdiff .*FOLDER": "names a model or a judge of the reader's",
    r"hierdiff calibrate .*:\S+/": "names an encoder of the hub; tests/tasks/test_calibrate.py",
    r"hierdiff evaluate .*(--grid|--only)": "takes minutes; tests/flows/commands/test_evaluate.py",
    r"hierdiff tune .*--no-write": "takes minutes; tests/flows/commands/test_tune.py",
    r"hierdiff run .*--remake (all|rejected)": "two nights more; tests/tasks/test_remake.py",
    r"hierdiff doctor": "tests/flows/test_production.py",
    r"hierdiff metrics": "tests/flows/commands/test_metrics.py",
}
REFERENCES = ("A-17", "B-2", "C-1", "C-2", "C-3", "C-4", "C-5", "C-6")  # some are on the pages
COLOURS = ("red", "blue", "green", "yellow")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of a page's lines that set something or run hierdiff, without comments."""
    for language, block in FENCE.findall((ROOT / page).read_text()):
        for line in block.splitlines() if not language else ():
            if line.startswith(("hierdiff ", "export ")):
                yield shlex.split(line, comments=True)


def where_else(words: list[str]) -> str | None:
    """Return where a command is run instead, or why it is not."""
    line = shlex.join(words)
    return next((why for form, why in ELSEWHERE.items() if re.match(form, line)), None)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start the stack in a shell that has the README's settings, in a folder with a shop."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HIERDIFF_VARIANTS", "3")
        rows = list(zip(REFERENCES, product(COLOURS, ("mug", "clock")), strict=True))
        with closing(sqlite3.connect("shop.db")) as shop, shop:
            shop.execute("CREATE TABLE products (sku, title, is_new, image, small)")
            for sku, (colour, thing) in rows:
                row = (sku, f"a product photo of a {colour} {thing} on a wooden table")
                shop.execute("INSERT INTO products VALUES (?, ?, 1, NULL, NULL)", row)
        text = "".join(f"{sku},a product photo of a {' '.join(words)}\n" for sku, words in rows)
        for name in ("shoes.csv", "mine.csv"):
            Path(name).write_text("reference,prompt\n" + text)
        for name, value in exported("README.md", folder):
            patch.setenv(name, value)
        with night_stack():
            yield folder


def exported(page: str, shop: Path) -> Iterator[tuple[str, str]]:
    """Yield the settings of a page."""
    for first, *words in commands(page):
        for word in words if first == "export" else ():
            name, value = word.split("=", 1)
            yield name, MINE.get(name, value).format(shop=shop)


def run(arguments: list[str]) -> int:
    """Return the exit code of a command, whose output pytest shows where it matters."""
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
    print(done.output)
    return exit_code(lambda: done.return_value)


@pytest.mark.slow
def test_the_commands_of_the_pages_do_what_they_say_one_after_the_other(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in STORY:
        for name, value in exported(page, shop):
            monkeypatch.setenv(name, value)
        for words in commands(page):
            if words[0] == "hierdiff" and where_else(words) is None:
                assert run(words[1:]) == 0, f"{page}: {shlex.join(words)}"
    assert all((shop / name).stat().st_size for name in ("r.html", "night.plan", "shoes.csv"))
    with closing(sqlite3.connect("shop.db")) as products:
        written = products.execute("SELECT sku, image, small FROM products").fetchall()
    assert all(image and small for _, image, small in written), written


def test_every_command_of_a_page_is_run_here_or_said_to_be_run_elsewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in (str(each.relative_to(ROOT)) for each in pages):
        for words in commands(page):
            if words[0] == "hierdiff":
                assert page in STORY or where_else(words), f"{page}: {shlex.join(words)}"
