"""A worker's fork server: a process that has imported what flow runs need, and forks them.

Usage: python -P -m flows.warm.server FOLDER IMPORTED...

A run starts in milliseconds, and is still a process of its own: it is killed alone, it crashes
alone, and nothing of it is left for the next one. The server answers `launcher` in FOLDER, starts
no thread and touches no device, both of which a fork would break, and ends when the worker, which
holds the other end of its standard input, is gone and the last run has ended.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import NoReturn

from flows.warm.launcher import ADDRESS

_PATIENCE = 10.0  # seconds that a launcher has to say what it wants


@dataclass(frozen=True)
class Launch:
    """A flow run that a launcher wants."""

    module: str  # to be run as a script
    environment: dict[str, str] = field(repr=False)  # holds secrets
    folder: str
    launcher: socket.socket
    streams: tuple[int, ...]  # its standard input, output and error


def main(folder: str, imported: Sequence[str]) -> None:
    """Serve until the worker is gone; in the process of a flow run, carry that out instead."""
    os.chdir(folder)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(ADDRESS)
    listener.listen()  # who comes early waits
    for module in imported:
        if select.select([sys.stdin], [], [], 0)[0]:  # the worker is gone already
            return
        import_module(module)
    gc.freeze()  # what is shared with the runs stays shared
    launch = _serve(listener)
    if launch is not None:
        _carry_out(launch)


def _serve(listener: socket.socket) -> Launch | None:
    """Fork a process for each launch; returns the launch there, and None in the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the runs' and the worker's
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while ready.get_map():
            for key, _ in ready.select():
                if key.fileobj is listener:
                    launch = _read(listener)
                    if launch is not None and _fork(launch, ready):
                        _let_go(listener, ready)
                        return launch
                elif key.fileobj is sys.stdin:  # it can only have been closed
                    ready.unregister(listener)
                    ready.unregister(sys.stdin)
                    listener.close()
                else:
                    _report_end(key, ready)
    return None


def _read(listener: socket.socket) -> Launch | None:
    """Return what a launcher wants, or None where it has gone away."""
    launcher, _ = listener.accept()
    launcher.settimeout(_PATIENCE)
    try:
        size, streams, _, _ = socket.recv_fds(launcher, 8, 3)
        wanted = json.loads(launcher.makefile("rb").read(int.from_bytes(size, "big")))
    except (OSError, ValueError):
        launcher.close()
        return None
    launcher.settimeout(None)
    return Launch(**wanted, launcher=launcher, streams=tuple(streams))


def _fork(launch: Launch, ready: selectors.BaseSelector) -> bool:
    """Fork; returns True in the new process."""
    process = os.fork()
    if process == 0:
        return True
    for stream in launch.streams:
        os.close(stream)
    # The launcher holds its signals back until it knows where to send them.
    with suppress(OSError):  # killed meanwhile, and the run with it
        launch.launcher.sendall(b"%d\n" % process)
    ready.register(os.pidfd_open(process), selectors.EVENT_READ, (process, launch.launcher))
    return False


def _let_go(listener: socket.socket, ready: selectors.BaseSelector) -> None:
    """Close in the process of a run what is the server's."""
    listener.close()
    for key in ready.get_map().values():
        if key.data is not None:
            os.close(key.fd)
            key.data[1].close()


def _report_end(key: selectors.SelectorKey, ready: selectors.BaseSelector) -> None:
    """Tell a launcher how its run has ended."""
    process, launcher = key.data
    ready.unregister(key.fileobj)
    os.close(key.fd)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with launcher, suppress(OSError):  # killed, as its run was
        launcher.sendall(b"%d\n" % code)


def _carry_out(launch: Launch) -> None:
    """Become the process of a flow run, as `python -m MODULE` in its place would be."""
    for number, stream in enumerate(launch.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(launch.folder)
    os.environ.clear()
    os.environ.update(launch.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_die_with, args=(launch.launcher,), daemon=True).start()
    sys.argv = [launch.module]
    sys.modules.pop(launch.module, None)  # it runs anew, as a script
    runpy.run_module(launch.module, run_name="__main__", alter_sys=True)


def _die_with(launcher: socket.socket) -> NoReturn:
    """End this process when its launcher is gone: whoever killed that one meant the run."""
    while launcher.recv(1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
