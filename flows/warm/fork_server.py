"""A worker's handle on its fork server: started once, and again where it has died."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect.settings import get_current_settings

from flows.stack.guard import MARK
from flows.warm import launcher

# This Python and no other of the path, and no package of the folder it is started in.
COLD = (sys.executable, "-P", "-m", "prefect.engine")
_IMPORTED = ("prefect.engine", "prefect.flow_engine", "flows.nightly", "flows.subtree")
_OF_A_RUN = ("PREFECT__", "HIERDIFF_")  # read when a run needs them, not when a module is imported


@dataclass
class ForkServer:
    """A process that starts flow runs in milliseconds, for as long as this one lives."""

    _folder: tempfile.TemporaryDirectory[str] = field(
        # A folder is made for one server: its socket must not be there yet.
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="hierdiff-"),
        init=False,
    )
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def command(self, environment: Mapping[str, str | None]) -> tuple[str, ...]:
        """Return the command that starts a flow run with this environment.

        A run whose environment asks for other libraries' settings than the worker's own starts
        cold, as does every run where the system has no way to watch a process that it forked.
        """
        if not hasattr(os, "pidfd_open") or _differs(environment):
            return COLD
        self.start()
        return (sys.executable, "-I", "-S", launcher.__file__, self._folder.name, *COLD)

    def start(self) -> None:
        """Start the server unless it is there; it takes requests at once and starts when it can."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            self.close()
            self._folder = tempfile.TemporaryDirectory(prefix="hierdiff-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.warm.server", self._folder.name, *_IMPORTED],
            stdin=subprocess.PIPE,
            env=_own_environment(),
        )

    def close(self) -> None:
        """Let the server end once its runs have ended."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._folder.cleanup()


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
