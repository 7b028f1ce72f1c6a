"""A night is reviewed in a real browser, by keys alone, and what was said is still there later."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.browser import PROGRAM, Tab, browser_tab
from tasks.settings import Settings
from tasks.stores import Stores, open_stores
from tests.tasks.gc.nights import finish, plan_night
from tests.tasks.night_kit import environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs apt-get install chromium"),
]

SAVED = "night.pictures.length > 0 && waiting.length === 0"
ROWS = tuple(range(1, 101))


@contextmanager
def reviewed(settings: Settings) -> Iterator[str]:
    """Run `hierdiff review` for the block, as a user does; yields its link."""
    code = "import sys; from flows.cli import main; main()"
    command = [sys.executable, "-c", code, "review", "shop", "--as", "ann"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(settings)
    )
    with process:
        lines = iter(process.stdout or ())
        try:
            yield next(line.strip() for line in lines if line.startswith("http"))
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    with open_stores(settings) as opened:
        finish(opened, plan_night(opened, ROWS))
        yield opened


def rows(stores: Stores) -> list[tuple[str, str, str, str]]:
    with stores.session() as session:
        found = session.execute(
            text("SELECT reference, verdict, reason, reviewer FROM verdicts ORDER BY id")
        )
        return [tuple(row) for row in found]


def verdicts(tab: Tab) -> list[list[str]]:
    tab.until(SAVED)
    return list(
        tab.read("night.pictures.map((each) => [each.names[0], each.verdict, each.reason])")
    )


def test_a_hundred_verdicts_by_keyboard_are_rows_in_order_and_outlive_reload_and_restart(
    stores: Stores, settings: Settings, tmp_path: Path
) -> None:
    with browser_tab(tmp_path, (900, 700)) as tab:
        with reviewed(settings) as link:
            tab.open(link)
            tab.until(f"{SAVED} && document.querySelector('#grid img.there') !== null")
            names = tab.read("chosen.map((each) => each.names[0])")
            asked = {each for each in tab.asked if "/small/" in each}
            visible = tab.read(
                "[...document.querySelectorAll('.tile')].filter((each) => {"
                " const box = each.getBoundingClientRect();"
                " return box.bottom > 0 && box.top < innerHeight; }).length"
            )
            assert 0 < len(asked) <= visible < len(ROWS)
            wanted = []
            for at, name in enumerate(names):
                if at % 10:
                    tab.press("a")
                    wanted.append((name, "accepted", "", "ann"))
                else:
                    tab.press("r", *"no handle", "Enter")
                    tab.until("!ask.open")
                    wanted.append((name, "rejected", "no handle", "ann"))
            tab.until(SAVED)
            assert rows(stores) == wanted
            before = verdicts(tab)
            tab.reload()
            assert verdicts(tab) == before
        with reviewed(settings) as link:
            tab.open(link)
            assert verdicts(tab) == before
        assert [each for each in tab.faults if "ERR_CONNECTION" not in each] == []


def test_the_page_is_used_by_keys_alone_at_any_width(
    stores: Stores, settings: Settings, tmp_path: Path
) -> None:
    at = "Number(document.activeElement.dataset.at)"
    with browser_tab(tmp_path) as tab, reviewed(settings) as link:
        tab.open(link)
        for width in (360, 2560):
            tab.resize(width, 800, dark=width == 2560)
            tab.until(f"{SAVED} && document.activeElement.matches('.tile')")
            assert tab.read("document.documentElement.scrollWidth <= innerWidth")
            assert tab.read("getComputedStyle(document.activeElement).outlineStyle") == "solid", (
                width
            )
            tab.press("Home", "ArrowRight", "ArrowDown")
            assert tab.read(at) == 1 + tab.read("columns")
            tab.press("ArrowUp", "ArrowLeft", "End")
            assert tab.read(at) == 99
            box = "document.activeElement.getBoundingClientRect()"
            assert tab.read(f"{box}.top >= 0 && {box}.bottom <= innerHeight + 1")
            tab.press("Enter")
            tab.until("viewer.open && document.querySelectorAll('.path li').length > 0")
            tab.press("ArrowLeft", "Escape")
            tab.until(f"!viewer.open && {at} === 98")  # the focus follows with the next event
        tab.press("/", *"SKU-7")
        tab.until("chosen.length === 11")  # 7 and 70 to 79
        tab.press("Escape")
        assert tab.read("[...document.images].every((each) => each.alt !== null)")
        assert tab.read("document.querySelectorAll('#grid img:not([alt])').length") == 0
        assert tab.faults == []
