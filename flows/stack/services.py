"""One service of the stack: a process with a log, a signal that stops it, a check for readiness.

It is started in a session of its own, awaited with a deadline, stopped with a grace and killed with
everything below it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from flows.errors import ServiceFailed
from flows.stack import guard
from tasks.settings import STACK_FILE

LOG_LIMIT = 10_000_000  # bytes; a longer log is set aside when its service starts


def free_port(wanted: int = 0) -> int:
    """`wanted` if it is free on 127.0.0.1, else any free port; another process may still take it
    before the service does, which is why `started_on_free_port` tries more than one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        return int(probe.getsockname()[1])


def listens(service: Service, port: int) -> bool:
    """Return whether a service accepts connections on a port, itself or by what it started.

    That somebody accepts them is not enough: it may be who was sooner to take the port.
    """
    try:
        if service.pid is None:  # ended
            return False
        main = psutil.Process(service.pid)
        return any(
            each.status == psutil.CONN_LISTEN and each.laddr.port == port
            for process in (main, *main.children(recursive=True))
            for each in process.net_connections("inet")
        )
    except psutil.Error:  # just now
        return False


class Guard:
    """The stack's end of the pipe to `flows.stack.guard`, which outlives it by seconds."""

    def __init__(self, home: Path, lock: int) -> None:
        self.mark = f"{home}#"
        self._process = subprocess.Popen(
            [sys.executable, "-P", guard.__file__, self.mark, str(home / STACK_FILE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            pass_fds=(lock,),
        )
        self._write = threading.Lock()

    def watch(self, pid: int, number: int) -> None:
        """End this process by this signal when the stack is gone."""
        with self._write:
            stdin = self._stdin()
            stdin.write(f"{pid} {number}\n")
            stdin.flush()

    def close(self) -> None:
        """Let the guard end whatever is left, and wait for it."""
        self._stdin().close()
        self._process.wait()

    def _stdin(self) -> IO[str]:
        if self._process.stdin is None:
            raise RuntimeError("the guard was started without a pipe")
        return self._process.stdin


@dataclass
class Service:
    """A process of the stack; `start` after `kill` or `stop` brings it back as it was."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)  # holds secrets
    log: Path
    guard: Guard
    ready: Callable[[Service], bool]  # asked while the process starts
    stop_signal: int = signal.SIGTERM
    user: str | None = None  # OS user, where it is not ours
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log_start: int = 0  # bytes of the log before this start

    @property
    def _mark(self) -> str:
        return f"{self.guard.mark}{self.name}#"  # closed, for worker-gpu is not worker-gpu-1

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; does nothing where it runs. Its output is appended to the log."""
        if self.running:
            return
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        marked = {**self.environment, guard.MARK: self._mark}
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command,
                env=marked,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the stack only, which stops in order
                cwd=self.log.parent,
                # Popen's own switch: between fork and exec, without Python code in the child.
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            )
        self.guard.watch(self._process.pid, self.stop_signal)

    def await_ready(self, seconds: float, given_up: Callable[[], bool] = lambda: False) -> None:
        """Return when the service answers; raises ServiceFailed when it ends or time runs out."""
        deadline = time.monotonic() + seconds
        while not self.ready(self):
            if not self.running:
                code = self._process.returncode if self._process else None
                raise self._failed(f"ended with code {code} before it was ready")
            if given_up():
                raise self._failed("was stopped before it was ready")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready after {seconds:.0f} s")
            time.sleep(0.05)

    def logged(self, text: str) -> bool:
        """Return whether the log since the last start holds this text."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return text.encode() in log.read()

    def stop(self, grace: float = 6.0) -> None:
        """Ask it to stop, kill what is left after `grace` seconds.

        A service whose stop signal is SIGSTOP is held still instead, while what it started is
        asked: it takes nothing new, and its end of their pipes stays open.
        """
        main = [psutil.Process(self.pid)] if self.pid else []
        if self.stop_signal == signal.SIGSTOP:
            guard.ask(main, signal.SIGSTOP, 0)
            started = (process for process in guard.marked(self._mark) if process not in main)
            guard.ask(started, signal.SIGTERM, grace)
        else:
            guard.ask(main, self.stop_signal, grace)
        self.kill()

    def kill(self) -> None:
        """End the process and everything it started, now."""
        if self._process is not None and self.running:
            self._process.kill()
        guard.end(guard.marked(self._mark))
        if self._process is not None:
            self._process.wait()

    def _failed(self, reason: str) -> ServiceFailed:
        return ServiceFailed(service=self.name, reason=reason, log=self.log)


def started_on_free_port(
    make: Callable[[int], Service], seconds: float, given_up: Callable[[], bool], wanted: int = 0
) -> Service:
    """A ready service on a port that was free when tried; a lost race for a port is tried again."""
    attempts = 3
    while True:
        attempts -= 1
        port = free_port(wanted)
        service = make(port)
        service.start()
        try:
            service.await_ready(seconds, given_up)
            return service
        except ServiceFailed:
            service.kill()
            if attempts == 0 or free_port(port) == port:  # nobody took it: another reason
                raise
