"""The last one out: a process that ends what a dead stack has left running.

Run as a script by the stack, which holds the other end of its standard input and writes one line
"PID SIGNAL" for each service. When that end closes, the stack is gone, in order or by kill -9, and
everything that still runs is ended: the services named, and every process that carries the mark
of this stack in its environment. It knows nothing of what the services are.

It shares the stack's lock, so a new stack on the same home waits until this one has finished.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator

import psutil

MARK = "SERVICE_OF_HIERDIFF"  # <home>#<service>#, in the environment of every process started
GRACE = 5.0  # seconds between the polite signal and SIGKILL


def marked(mark: str) -> Iterator[psutil.Process]:
    """Processes whose mark starts with this one; flow runs inherit the mark of their worker."""
    for process in psutil.process_iter():
        try:
            found = process.environ().get(MARK, "")
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            continue
        if found.startswith(mark) and process.pid != os.getpid():
            yield process


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill each of them and wait until it is gone."""
    killed = list(processes)
    for process in killed:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(killed, timeout=GRACE)


def watch(lines: Iterable[str]) -> list[tuple[psutil.Process, int]]:
    """Services that are still the process they were when named, in the order of their start."""
    named: list[tuple[psutil.Process, int]] = []
    for line in lines:
        pid, number = (int(word) for word in line.split())
        try:
            named.append((psutil.Process(pid), number))
        except psutil.NoSuchProcess:
            continue
    return [(process, number) for process, number in named if process.is_running()]


def main(mark: str) -> None:
    """Wait for the stack's end, then leave nothing of it running."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left = watch(sys.stdin)
    for process, number in reversed(left):
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs([process for process, _ in left], timeout=GRACE)
    end(process for process, _ in left if process.is_running())
    end(marked(mark))


if __name__ == "__main__":
    main(sys.argv[1])
