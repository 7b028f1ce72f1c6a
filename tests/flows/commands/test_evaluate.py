"""The command `evaluate` as people meet it: on the shipped miniature, in small."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flows.cli import cli, exit_code

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
_START = "from flows.cli import main; main()"
PROMPTS = "prompt,set,held_out\n" + "".join(
    f"a {colour} {product},mugs,yes\n" for colour in ("red", "blue") for product in ("mug", "lamp")
)


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with prompts, in which one small evaluation was made."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "mine.csv").write_text(PROMPTS)
    done = evaluate(folder)
    assert done.code == 0, done.stderr
    return folder


def evaluate(place: Path, *more: str) -> Done:
    """Run the command in this process on the prompts of a folder."""
    arguments = [
        "evaluate", "--prompts", str(place / "mine.csv"), "--grid", "quick",
        "--only", "attributes,diversity", "--workers", "1", "--out", str(place / "out"),
        "--work", str(place / "work"), *more,
    ]  # fmt: skip
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("HIERDIFF_OPTION_PRIOR_STEPS", "3")
        patch.setenv("HIERDIFF_HOME", str(place / "home"))
        code = exit_code(lambda: cli(arguments, standalone_mode=False))
    return Done(code, out.getvalue(), err.getvalue())


def units(place: Path) -> dict[str, int]:
    """Return when each result was written."""
    return {each.name: each.stat().st_mtime_ns for each in (place / "work/units").iterdir()}


def test_pages_tell_the_figures_the_command_and_what_is_not_measured(place: Path) -> None:
    page = (place / "out/evaluation.md").read_text()
    figures = json.loads((place / "out/evaluation.json").read_text())
    assert "\n    hierdiff" in page
    assert "ward, DDPM 6, saving 50 %" in page
    assert "sharing is not measured yet against DDPM 6" in page
    assert "goal" not in page
    assert figures["sets"]["mugs"]["prompts"] == 4
    assert len(figures["diversity"]["mugs"]) == 2
    assert (place / "out/evaluation/frontier-mugs.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_measured_is_not_measured_again(place: Path) -> None:
    before = units(place)
    assert evaluate(place).code == 0
    assert units(place) == before


def test_only_what_is_missing_is_measured_after_a_stop(place: Path) -> None:
    before = units(place)
    lost, damaged, *kept = sorted(before)
    (place / "work/units" / lost).unlink()
    (place / "work/units" / damaged).write_bytes(b"half of it")
    plan = json.loads(evaluate(place, "--dry-run", "--json").stdout)
    assert sum(each["jobs"] for each in plan) == 2
    assert evaluate(place).code == 0
    after = units(place)
    assert set(after) == set(before)
    assert {each: after[each] for each in kept} == {each: before[each] for each in kept}


def test_a_script_is_told_where_the_pages_are(place: Path) -> None:
    told = json.loads(evaluate(place, "--json", "--no-plots").stdout)
    assert told["incomplete"] == 0
    assert Path(told["markdown"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--sets", "animals"), "--sets"),
        (("--only", "table1"), "--only"),
        (("--solvers", "heun"), "--solvers"),
        (("--judge", "taste"), "taste"),
        (("--model", "/no/such/folder"), "/no/such/folder"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    place: Path, arguments: tuple[str, ...], named: str
) -> None:
    done = evaluate(place, *arguments)
    assert done.code == 2
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_two_processes_measure_what_one_would(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(PROMPTS)
    assert evaluate(tmp_path, "--workers", "2").code == 0
    alone = json.loads((place / "out/evaluation.json").read_text())["diversity"]
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["diversity"] == alone


def test_processes_of_an_evaluation_that_is_killed_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(PROMPTS)
    words = ["--prompts", "mine.csv", "--grid", "quick", "--workers", "2", "--work", "work"]
    settings = {"HIERDIFF_OPTION_PRIOR_STEPS": "3", "HIERDIFF_HOME": str(tmp_path / "home")}
    program = psutil.Popen(
        [sys.executable, "-c", _START, "evaluate", *words],
        cwd=tmp_path,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        workers = _await_workers(program, 2)
    finally:
        program.kill()
        program.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert (len(gone), alive) == (2, [])


def _await_workers(program: psutil.Popen, count: int) -> list[psutil.Process]:
    """Return the processes that work for a program, once there are so many."""
    while program.poll() is None:
        found = [each for each in program.children() if "spawn_main" in " ".join(each.cmdline())]
        if len(found) == count:
            return found
        time.sleep(0.2)
    raise AssertionError(f"the program ended with {program.returncode} before it had {count}")
