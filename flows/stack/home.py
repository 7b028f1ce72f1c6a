"""The folder of a stack: its lock, its credentials, and the file with its addresses.

Also the environment of its services: what of the shell around the stack they may see.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.errors import StackRunning, UnusableHome
from tasks.settings import STACK_FILE

# A shell set up for another server, another cloud or a proxy must not reach into the stack.
FOREIGN = ("PREFECT_", "AWS_", "RCLONE_", "PG")
LOCAL = "127.0.0.1,localhost"
LOCK = "stack.lock"


@dataclass(frozen=True)
class Credentials:
    """Of the embedded S3 server: made once for each home, so that links stay valid."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r}, secret_key=***)"


def prepare_home(home: Path) -> Path:
    """Return the folder's full path with its subfolders made; raises UnusableHome."""
    home = home.expanduser().resolve()
    try:
        for name in ("logs", "prefect", "s3", "tmp"):
            # Pictures, prompts and logs are nobody else's on this machine.
            (home / name).mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise UnusableHome(home=home, reason=error.strerror) from None
    return home


def clear_home(home: Path) -> None:
    """Remove all that a stack keeps, but for the lock that the caller holds."""
    for entry in home.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
    prepare_home(home)


@contextmanager
def locked(home: Path, patience: float = 15.0) -> Iterator[int]:
    """Hold the home for one stack; yields the lock's descriptor, for the guard to share.

    Raises StackRunning at once while the holder lives. A holder that was killed leaves a guard,
    which is given `patience` seconds to clean up.
    """
    with (home / LOCK).open("a+") as file:
        deadline = time.monotonic() + patience
        while not _try_lock(file.fileno()):
            holder = _holder(home)
            if psutil.pid_exists(holder) or time.monotonic() > deadline:
                raise StackRunning(home=home, pid=holder or "unknown")
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield file.fileno()
        finally:
            file.truncate(0)


def read_credentials(home: Path) -> Credentials:
    """Return the home's S3 credentials, made at random at the first start."""
    path = home / "s3.json"
    if not path.exists():
        made = {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(20)}
        write_private(path, json.dumps(made))
    return Credentials(**json.loads(path.read_text()))


def read_password(home: Path) -> str:
    """Return what the home's Prefect server asks for, made at random at the first start.

    It is kept, so that a browser which knows it is let in tomorrow, too.
    """
    path = home / "prefect.password"
    if not path.exists():
        write_private(path, f"hierdiff:{secrets.token_urlsafe(18)}\n")
    return path.read_text().strip()


def write_stack_file(home: Path, environment: Mapping[str, str]) -> None:
    """Write the addresses of the stack's services, for every command that uses this home."""
    lines = [f"{name}='{value}'\n" for name, value in environment.items()]
    write_private(home / STACK_FILE, "".join(lines))


def read_stack_file(home: Path) -> dict[str, str]:
    """Return the addresses of the stack that runs on this home; empty where none runs."""
    try:
        lines = (home / STACK_FILE).read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("=", 1) for line in lines)
    return {name: text.strip("'") for name, text in pairs}


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    unfinished.replace(path)


def clean_environment(home: Path) -> dict[str, str]:
    """Return this process's environment without what would lead a service astray."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}
    programs = str(Path(sys.executable).parent)
    return {
        **kept,
        **without_proxy(kept),
        "PATH": _joined(programs, kept.get("PATH"), os.pathsep),
        "HIERDIFF_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables that keep any proxy out of the way between the stack and its clients."""
    return {name: _joined(LOCAL, environment.get(name)) for name in ("NO_PROXY", "no_proxy")}


def _joined(first: str, rest: str | None, separator: str = ",") -> str:
    return separator.join(part for part in (first, rest) if part)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(home: Path) -> int:
    text = (home / LOCK).read_text()
    return int(text) if text.isdigit() else 0
