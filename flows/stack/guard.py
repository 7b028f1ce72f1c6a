"""The last one out: a process that ends what a dead stack has left running.

Run as a script by the stack, which holds the other end of its standard input and writes one line
"PID SIGNAL" for each service. When that end closes, the stack is gone, in order or by kill -9, and
everything that still runs is ended: the services named, and every process that carries the mark
of this stack in its environment.

It shares the stack's lock, so a new stack on the same home waits until this one has finished.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

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


def ask(processes: Iterable[psutil.Process], number: int, grace: float) -> None:
    """Send each of them a signal and wait at most `grace` seconds for their ends."""
    asked = list(processes)
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    psutil.wait_procs(asked, timeout=grace)


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill each of them and wait until it is gone."""
    ask(processes, signal.SIGKILL, GRACE)


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


def main(mark: str, note: str) -> None:
    """Wait for the stack's end, then leave nothing of it running, nor the note of where it is."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    left = watch(sys.stdin)
    Path(note).unlink(missing_ok=True)
    workers = [process for process, number in left if number == signal.SIGSTOP]
    servers = {process: number for process, number in left if number != signal.SIGSTOP}
    ask(workers, signal.SIGSTOP, 0)
    # Their runs can still report their end, since the servers are up.
    runs = (process for process in marked(mark) if process not in {*workers, *servers})
    ask(runs, signal.SIGTERM, GRACE)
    end(workers)
    for server, number in servers.items():
        ask([server], number, GRACE)
    end(server for server in servers if server.is_running())
    end(marked(mark))


if __name__ == "__main__":
    main(*sys.argv[1:])
