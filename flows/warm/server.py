"""A worker's fork server: a process that has imported what flow runs need, and forks them.

Usage: python -P -m flows.warm.server FOLDER IMPORTED...

A run starts in milliseconds, and is still a process of its own: it is killed alone, it crashes
alone, and nothing of it is left for the next one. The server answers `launcher` in FOLDER, starts
no thread and touches no device, both of which a fork would break, and ends when the worker, which
holds the other end of its standard input, is gone and the last run has ended.

On request it forks a holder: another such server, with an address of its own, which first has some
weights read into memory. Runs that are forked from it share them; if it dies of them, the server
and all runs stay. It ends as the server does, when the worker closes the connection it asked on.
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
from pathlib import Path
from typing import IO, NoReturn

from flows.warm.launcher import ADDRESS

_PATIENCE = 10.0  # seconds that a launcher has to say what it wants


@dataclass(frozen=True)
class Launch:
    """A flow run that a launcher wants."""

    module: str  # to be run as a script
    environment: dict[str, str] = field(repr=False)  # holds secrets
    folder: str
    client: socket.socket  # the launcher
    streams: tuple[int, ...]  # its standard input, output and error


@dataclass(frozen=True)
class Holding:
    """A holder that the worker wants."""

    call: str  # module:function that reads what is to be held
    given: dict[str, object] = field(repr=False)  # its arguments; a negative prompt among them
    address: str  # at which it answers launchers
    client: socket.socket  # the worker


@dataclass(frozen=True)
class Holder:
    """What a process is that was forked for a holding."""

    holding: Holding
    listener: socket.socket


def main(folder: str, imported: Sequence[str]) -> None:
    """Serve until the worker is gone; in the process of a flow run, carry that out instead."""
    os.chdir(folder)
    listener = _listen(ADDRESS)
    for module in imported:
        if select.select([sys.stdin], [], [], 0)[0]:  # the worker is gone already
            return
        import_module(module)
    gc.freeze()  # what is shared with the runs stays shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the runs' and the worker's
    launch = _serve(listener, sys.stdin)
    if launch is not None:
        _carry_out(launch)


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}~")
    listener.listen()  # who comes early waits
    Path(f"{address}~").rename(address)  # where it is seen, it listens
    return listener


def _serve(listener: socket.socket, worker: IO[str] | socket.socket) -> Launch | None:
    """Fork a process for each launch; returns the launch there, and None in a server.

    It ends when the worker has closed its end and the last run has ended.
    """
    forked = _fork_until_gone(listener, worker)
    if not isinstance(forked, Holder):
        return forked
    module, _, function = forked.holding.call.partition(":")
    getattr(import_module(module), function)(**forked.holding.given)
    gc.freeze()
    return _serve(forked.listener, forked.holding.client)


def _fork_until_gone(
    listener: socket.socket, worker: IO[str] | socket.socket
) -> Launch | Holder | None:
    """Return what this process is: forked for a launch or a holding, or None in the server."""
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(worker, selectors.EVENT_READ)
        while ready.get_map():
            for key, _ in ready.select():
                if key.fileobj is listener:
                    wanted = _read(listener)
                    forked = None if wanted is None else _fork(wanted, ready)
                    if forked is not None:
                        _let_go(listener, worker, ready)
                        return forked
                elif key.fileobj is worker:  # it can only have been closed
                    ready.unregister(listener)
                    ready.unregister(worker)
                    listener.close()
                else:
                    _report_end(key, ready)
    return None


def _read(listener: socket.socket) -> Launch | Holding | None:
    """Return what is wanted, or None where who wants it has gone away."""
    client, _ = listener.accept()
    client.settimeout(_PATIENCE)
    try:
        size, streams, _, _ = socket.recv_fds(client, 8, 3)
        wanted = json.loads(client.makefile("rb").read(int.from_bytes(size, "big")))
    except (OSError, ValueError):
        client.close()
        return None
    client.settimeout(None)
    if "call" in wanted:
        return Holding(**wanted, client=client)
    return Launch(**wanted, client=client, streams=tuple(streams))


def _fork(wanted: Launch | Holding, ready: selectors.BaseSelector) -> Launch | Holder | None:
    """Fork; returns what the new process is, and None in this one."""
    new: Launch | Holder = wanted if isinstance(wanted, Launch) else _holder(wanted)
    process = os.fork()
    if process == 0:
        return new
    if isinstance(new, Holder):
        new.listener.close()
    else:
        for stream in new.streams:
            os.close(stream)
    # A launcher holds its signals back until it knows where to send them.
    with suppress(OSError):  # killed meanwhile, and the run with it
        wanted.client.sendall(b"%d\n" % process)
    ready.register(os.pidfd_open(process), selectors.EVENT_READ, (process, wanted.client))
    return None


def _holder(holding: Holding) -> Holder:
    return Holder(holding, _listen(holding.address))


def _let_go(
    listener: socket.socket, worker: IO[str] | socket.socket, ready: selectors.BaseSelector
) -> None:
    """Close in a new process what is the server's; standard input is closed by who needs it."""
    listener.close()
    if isinstance(worker, socket.socket):
        worker.close()
    for key in ready.get_map().values():
        if key.data is not None:
            os.close(key.fd)
            key.data[1].close()


def _report_end(key: selectors.SelectorKey, ready: selectors.BaseSelector) -> None:
    """Tell a launcher how its run has ended, and the worker that a holder has."""
    process, client = key.data
    ready.unregister(key.fileobj)
    os.close(key.fd)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with client, suppress(OSError):  # killed, as its run was
        client.sendall(b"%d\n" % code)


def _carry_out(launch: Launch) -> None:
    """Become the process of a flow run, as `python -m MODULE` in its place would be."""
    for number, stream in enumerate(launch.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(launch.folder)
    os.environ.clear()
    os.environ.update(launch.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_die_with, args=(launch.client,), daemon=True).start()
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
