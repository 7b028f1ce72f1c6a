"""What a network frees is kept for its next call."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# A process of its own: the setting is the whole process's and cannot be taken back.
_SCRIPT = """
import resource, sys, threading
import torch
from hierdiff_core.models.allocator import keep_freed_memory

def once():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.empty(12 << 20).fill_(1)  # 48 MiB, 12288 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def faults():
    return min(once() for _ in range(5))  # the system may take pages back at any time

def elsewhere(found):
    found.append(faults())

kept = keep_freed_memory() if sys.argv[1] == "kept" else None
found = []
thread = threading.Thread(target=elsewhere, args=(found,))
thread.start()
thread.join()
print(kept, faults(), *found)
"""
glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the allocator of this C library has no such setting"
)


def _run(mode: str) -> list[str]:
    command = [sys.executable, "-c", _SCRIPT, mode]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@glibc
def test_memory_is_mapped_once_and_not_for_every_call_on_any_thread() -> None:
    kept, here, on_a_thread = _run("kept")
    assert kept == "True"
    assert int(here) < 12288  # ten calls, and fewer pages than one of them takes
    assert int(on_a_thread) < 12288


@glibc
def test_without_it_each_call_maps_its_memory_anew() -> None:
    _, here, _ = _run("default")
    assert int(here) > 10 * 12000
