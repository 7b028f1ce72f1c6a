"""The process that Prefect starts for a flow run: it has the worker's fork server start that run.

Usage: python -I -S launcher.py FOLDER PYTHON -P -m MODULE

It stands for the run in every way: the run has its environment, folder and output, gets its
SIGTERM, dies with it, and gives it its exit code. Where no fork server answers in FOLDER it becomes
that Python instead. It is a script that imports little, pathlib included, for every run starts it.
"""

import json
import os
import signal
import socket
import sys

ADDRESS = "launch"  # relative to FOLDER, since the path of a socket must be short


def main(folder: str, command: list[str]) -> int:
    """Have the flow run carried out; return its exit code, negative for a signal."""
    here = os.getcwd()  # noqa: PTH109
    request = {"module": command[-1], "environment": dict(os.environ), "folder": here}
    server = _connect(folder)
    if server is None:
        os.execv(command[0], command)
    body = json.dumps(request).encode()
    # The run is not there yet for a signal to go to: it is kept until it is.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is of the same terminal
    try:
        socket.send_fds(server, [len(body).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(body)
        answers = server.makefile("rb")
        run = int(answers.readline())
    except (OSError, ValueError):  # it ended, and nothing has begun
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.execv(command[0], command)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(run, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return int(answers.readline() or -signal.SIGKILL)


def _connect(folder: str) -> socket.socket | None:
    server, here = socket.socket(socket.AF_UNIX), os.getcwd()  # noqa: PTH109
    try:
        os.chdir(folder)
        server.connect(ADDRESS)
    except OSError:
        return None
    finally:
        os.chdir(here)
    return server


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2:])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
