"""A worker's handle on its fork server: started once, and again where it has died."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from prefect.settings import get_current_settings

from flows.stack.guard import MARK
from flows.warm import launcher

# This Python and no other of the path, and no package of the folder it is started in.
COLD = (sys.executable, "-P", "-m", "prefect.engine")
_IMPORTED = ("prefect.engine", "prefect.flow_engine", "flows.nightly", "flows.subtree")
_PATIENCE = 60.0  # seconds until a server that is still importing is not waited for
_LAST = 5.0  # seconds, at most, that its end is waited for
_ANSWER = 32  # bytes, at most
_OF_A_RUN = ("PREFECT__", "HIERDIFF_")  # read when a run needs them, not when a module is imported


@dataclass(frozen=True)
class Needed:
    """What a flow run needs in memory: what a call with these arguments reads."""

    call: str  # module:function
    given: Mapping[str, object] = field(repr=False)  # JSON values


@dataclass
class ForkServer:
    """A process that starts flow runs in milliseconds, for as long as this one lives.

    It holds what the last run wanted in memory, in a process of its own, from which later runs that
    want the same are forked.
    """

    imported: tuple[str, ...] = _IMPORTED
    _folder: tempfile.TemporaryDirectory[str] = field(
        # A folder is made for one server: its socket must not be there yet.
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="hierdiff-"),
        init=False,
    )
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _held: Needed | None = field(default=None, init=False)
    _holder: socket.socket | None = field(default=None, init=False)  # closed, it ends
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _holders: int = field(default=0, init=False)  # so far, each with an address of its own

    def command(
        self, environment: Mapping[str, str | None], wanted: Needed | None = None
    ) -> tuple[str, ...]:
        """Return the command that starts a flow run with this environment, and what it wants held.

        The first run that wants it waits until it is read. A run whose environment asks for other
        libraries' settings than the worker's own starts cold, as does every run where the system
        has no way to watch a process that it forked.
        """
        if not hasattr(os, "pidfd_open") or _differs(environment):
            return COLD
        with self._lock:
            self.start()
            if wanted is not None:
                self._hold(wanted)
            address = launcher.ADDRESS if wanted is None else f"holder-{self._holders}"
        return (sys.executable, "-I", "-S", launcher.__file__, self._folder.name, address, *COLD)

    def start(self) -> None:
        """Start the server unless it is there; it takes requests at once, and imports meanwhile."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            self.close()
            self._folder = tempfile.TemporaryDirectory(prefix="hierdiff-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.warm.server", self._folder.name, *self.imported],
            stdin=subprocess.PIPE,
            env=_own_environment(),
        )
        address = Path(self._folder.name, launcher.ADDRESS)
        while self._process.poll() is None and not address.exists():
            time.sleep(0.005)  # until its interpreter is there

    def _hold(self, wanted: Needed) -> None:
        """Have a holder started, unless there is one for this; the one before it ends."""
        if wanted == self._held and self._holder is not None and _is_silent(self._holder):
            return
        self._release()
        self._holders += 1
        body = json.dumps({**asdict(wanted), "address": f"holder-{self._holders}"}).encode()
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(_PATIENCE)
        folder = os.open(self._folder.name, os.O_PATH)
        try:
            # The path of a socket must be short.
            server.connect(f"/proc/self/fd/{folder}/{launcher.ADDRESS}")
            server.sendall(len(body).to_bytes(8, "big") + body)
            if server.recv(_ANSWER):  # the holder is there, and takes runs once it has read
                self._held, self._holder = wanted, server
        except OSError:
            server.close()  # the run reads what it wants itself
        finally:
            os.close(folder)

    def _release(self) -> None:
        """Let the holder end once its runs have ended."""
        if self._holder is not None:
            self._holder.close()
        self._held = self._holder = None

    def close(self) -> None:
        """Let the server end once its runs have ended."""
        self._release()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST)
        self._folder.cleanup()


def _is_silent(holder: socket.socket) -> bool:
    """Return whether a holder lives; its end is said, or closes the connection."""
    holder.setblocking(False)
    try:
        holder.recv(_ANSWER)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _own_environment() -> dict[str, str]:
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    environment = {**os.environ, **settings}
    # The stack signals whatever has its mark, and for a run that is its launcher alone.
    environment.pop(MARK, None)
    return environment


def _differs(environment: Mapping[str, str | None]) -> bool:
    own = _own_environment()
    return any(
        value != own.get(name)
        for name, value in environment.items()
        if not name.startswith((MARK, *_OF_A_RUN))
    )
