"""The command `python -m benchmarks.paper` in small: it measures, tells, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def paper(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command on the smallest set, with two processes."""
    words = [
        "--grid", "quick", "--sets", "tryon", "--only", "figure5,strips,families",
        "--workers", "2", "--out", str(folder / "out"), "--work", str(folder / "work"),
    ]  # fmt: skip
    settings = {"HIERDIFF_OPTION_PRIOR_STEPS": "3", "HIERDIFF_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.paper", *words, *more],
        cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_paper_is_repeated_and_what_was_measured_stays(tmp_path: Path) -> None:
    done = paper(tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out/evaluation.md").read_text()
    assert "    python -m benchmarks.paper --grid quick" in page
    assert "fresh drawings of the same prompts" in page
    assert "the paper's 65 % on Virtual try-on" in page
    figures = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert len(figures["figure5"]["tryon"]) == 4
    drawn = {each.name for each in (tmp_path / "out/evaluation").iterdir()}
    assert {"figure5.png", "strips.png", "mean-tryon.png"} <= drawn
    left = json.loads(paper(tmp_path, "--dry-run", "--json").stdout)
    assert [each["jobs"] for each in left] == [0, 0, 0]


def test_a_set_that_is_not_built_in_is_refused(tmp_path: Path) -> None:
    done = paper(tmp_path, "--sets", "animals")
    assert (done.returncode, done.stdout) == (2, "")
    assert "tryon" in done.stderr
