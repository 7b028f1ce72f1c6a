"""Holders of leases: one attempt in one process, named so that others can tell when it is gone.

An attempt's name says on which machine and in which process it runs. A process of the same machine
can therefore see that another one has died, and need not wait for its lease to run out; of other
machines nothing is known but the lease.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil

_ATTEMPTS: set[str] = set()  # of this process, that have not ended


@contextmanager
def holding() -> Iterator[str]:
    """Yield the name of a new attempt; with the block it ends."""
    name = "/".join((_machine(), _process(), uuid.uuid4().hex))
    _ATTEMPTS.add(name)
    try:
        yield name
    finally:
        _ATTEMPTS.discard(name)


def is_gone(name: str) -> bool:
    """Return whether an attempt has certainly ended: it ran on this machine, and runs no more."""
    machine, _, rest = name.partition("/")
    process, _, attempt = rest.partition("/")
    if not attempt or not machine or machine != _machine():
        return False
    if process == _process():
        return name not in _ATTEMPTS
    return not _runs(process)


def _process() -> str:
    return f"{os.getpid()}-{_started(os.getpid())}"


@cache
def _started(pid: int) -> str:
    return f"{psutil.Process(pid).create_time():.2f}"


def _runs(process: str) -> bool:
    pid, _, started = process.partition("-")
    try:
        found = psutil.Process(int(pid))
        same = f"{found.create_time():.2f}" == started
        return same and found.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, ValueError):
        return True  # who cannot be seen may live


@cache
def _machine() -> str:
    """Return what only processes share that see each other; empty where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""
