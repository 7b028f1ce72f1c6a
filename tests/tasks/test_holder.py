"""A process tells whether another one of its machine that held a lease is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.holder import holding, is_gone

_HOLD = """
from tasks.holder import holding
with holding() as name:
    print(name, flush=True)
    input()
"""


def test_an_attempt_of_this_process_is_gone_when_it_has_ended() -> None:
    with holding() as first, holding() as second:
        assert not is_gone(first)
        assert first != second
    assert is_gone(first)


def test_an_attempt_of_another_process_lives_while_that_does_stopped_or_not() -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        name = (other.stdout.readline() if other.stdout else "").strip()
        assert not is_gone(name)
        other.send_signal(signal.SIGSTOP)
        assert not is_gone(name)
        other.kill()
        for _ in range(100):
            if is_gone(name):
                break
            time.sleep(0.05)
        assert is_gone(name)  # although nobody has waited for it yet
    assert is_gone(name)


@pytest.mark.parametrize("name", ["", "worker", "elsewhere-4026531836/1-1.00/abc", "//", "a/b"])
def test_of_an_unknown_name_or_machine_nothing_is_known(name: str) -> None:
    assert not is_gone(name)
