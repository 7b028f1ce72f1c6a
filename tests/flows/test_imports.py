"""What must answer at once loads no network library."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = (
    "hierdiff_core.plan",
    "hierdiff_core.prompt",
    "tasks.settings",
    "tasks.ledger",
    "flows.cli",
    "flows.commands.retry",
    "flows.commands.stack",
    "flows.commands.status",
)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_no_network_library(module: str) -> None:
    heavy = ("torch", "diffusers", "transformers", "sklearn")
    script = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
