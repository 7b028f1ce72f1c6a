"""The process that Prefect starts for a flow run: it has the worker's fork server start that run.

Usage: python -I -S launcher.py FOLDER ADDRESS PYTHON -P -m MODULE

It stands for the run in every way: the run has its environment, folder and output, gets its
SIGTERM, dies with it, and gives it its exit code. Where nobody answers at ADDRESS in FOLDER it asks
the fork server itself, and where that does not answer either it becomes that Python instead. It is
a script that imports little, pathlib included, for every run starts it.
"""

import io
import json
import os
import signal
import socket
import sys

ADDRESS = "launch"  # relative to FOLDER, since the path of a socket must be short


def main(folder: str, address: str, command: list[str]) -> int:
    """Have the flow run carried out; return its exit code, negative for a signal."""
    here = os.getcwd()  # noqa: PTH109
    request = {"module": command[-1], "environment": dict(os.environ), "folder": here}
    # The run is not there yet for a signal to go to: it is kept until it is.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is of the same terminal
    body = json.dumps(request).encode()
    started = _start(folder, address, body) or _start(folder, ADDRESS, body)
    if started is None:
        signal.signal(signal.SIGINT, interrupted)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.execv(command[0], command)
    run, answers = started
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(run, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return int(answers.readline() or -signal.SIGKILL)


def _start(folder: str, address: str, body: bytes) -> tuple[int, io.BufferedReader] | None:
    """Return a run's process and the answers about it; None where nothing has begun."""
    try:
        server = _connect(folder, address)
        socket.send_fds(server, [len(body).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(body)
        answers = server.makefile("rb")
        return int(answers.readline()), answers
    except (OSError, ValueError):  # nobody is there, or has just ended
        return None


def _connect(folder: str, address: str) -> socket.socket:
    server, here = socket.socket(socket.AF_UNIX), os.getcwd()  # noqa: PTH109
    try:
        os.chdir(folder)
        server.connect(address)
    finally:
        os.chdir(here)
    return server


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2], sys.argv[3:])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
