"""A worker is hierdiff's, whatever lies in the folder that it is started in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from flows.stack.orchestrator import prefect_environment, worker_command


def test_a_package_of_ones_own_named_flows_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/__init__.py").touch()
    (tmp_path / "flows/worker.py").write_text("print('theirs')\n")
    pool_missing = worker_command("pool", "name", 1)[:-3]  # ours asks for it, theirs does not
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run(
        pool_missing, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "theirs" not in done.stdout
    assert "IndexError" in done.stderr


def test_a_server_that_may_not_write_beside_its_code_keeps_its_ui_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "PREFECT_SERVER_UI_STATIC_DIRECTORY"
    monkeypatch.setattr("os.access", lambda path, mode: True)
    assert name not in prefect_environment(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert prefect_environment(tmp_path)[name].startswith(f"{tmp_path}/")
