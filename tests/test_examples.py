"""The examples run as they are, and say what they did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.slow


def run(name: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_lays_a_set_out_on_a_sheet(tmp_path: Path) -> None:
    said = run("library.py", str(tmp_path / "sheet.png"))
    assert "16 pictures, 160 evaluations, 50% saved" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (256, 256)


def test_a_catalogue_is_planned_at_several_savings(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.csv"
    file.write_text("prompt\na red mug\na blue mug\na red clock\na red mug\n")
    said = run("catalogue.py", str(file))
    assert "4 rows, 3 different prompts" in said
    assert "20% saved: 48 evaluations" in said
    assert "can save at most" in said


def test_a_model_of_ones_own_is_compared_with_itself() -> None:
    said = run("own_model.py", "hierdiff/miniature-decoder")
    assert "alone: 40 evaluations, 0% saved" in said
    assert "shared: 28 evaluations, 30% saved" in said


def test_each_example_can_be_read_at_a_glance() -> None:
    for file in EXAMPLES.glob("*.py"):
        assert len(file.read_text().splitlines()) <= 45, file.name
