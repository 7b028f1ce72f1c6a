"""A flow run that is forked behaves as the process that Prefect started would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flows.warm import launcher
from flows.warm.fork_server import COLD, ForkServer, Needed

RUN = """
import os, signal, sys, time
print(os.getcwd(), os.environ.get("MARK"), sys.argv, sys.stdin.read().strip(), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(os.getpid(), os.getppid(), file=sys.stderr, flush=True)
what = os.environ.get("WHAT", "")
while what == "wait":
    time.sleep(0.01)
if what == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
sys.exit(int(what or 0))
"""

HELD = """
import os, sys, time
def read(name, log):
    with open(log, "a") as lines:
        print(name, file=lines)
    if name == "missing":
        raise SystemExit(1)
    sys.held = name, os.getpid()
"""
RUN_WITH = """
import os, signal, sys, time
name, reader = getattr(sys, "held", ("nothing", 0))
print(name, reader == os.getppid(), flush=True)
while os.environ.get("WHAT") == "wait":
    time.sleep(0.01)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A fork server in a folder whose path is too long for a socket's name."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (folder / "run_of_a_test.py").write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.warm.server", folder, "json"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{folder}:{Path.cwd()}"},
    )
    process.folder = folder  # type: ignore[attr-defined]
    while not (folder / launcher.ADDRESS).exists():
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()  # type: ignore[union-attr]


def launch(
    server: subprocess.Popen[bytes], what: str = "", text: str = ""
) -> subprocess.Popen[str]:
    folder = server.folder  # type: ignore[attr-defined]
    command = [sys.executable, "-I", "-S", launcher.__file__, folder, launcher.ADDRESS]
    started = subprocess.Popen(
        [*command, sys.executable, "-P", "-m", "run_of_a_test"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PATH": "", "MARK": "its own", "WHAT": what, "PYTHONPATH": str(folder)},
    )
    started.stdin.write(text)  # type: ignore[union-attr]
    started.stdin.close()  # type: ignore[union-attr]
    started.stdin = None
    return started


def processes(started: subprocess.Popen[str]) -> tuple[psutil.Process, int]:
    run, parent = started.stderr.readline().split()  # type: ignore[union-attr]
    return psutil.Process(int(run)), int(parent)


def test_a_run_has_the_environment_folder_and_streams_of_its_launcher(
    server: subprocess.Popen[bytes],
) -> None:
    output, errors = launch(server, text="hello").communicate()
    argument = server.folder / "run_of_a_test.py"  # type: ignore[attr-defined]
    assert output.split("\n")[0] == f"/ its own ['{argument}'] hello"
    assert int(errors.split()[1]) == server.pid


@pytest.mark.parametrize(("what", "code"), [("0", 0), ("3", 3), ("crash", -signal.SIGSEGV)])
def test_a_run_ends_as_its_process_ended(
    server: subprocess.Popen[bytes], what: str, code: int
) -> None:
    with launch(server, what) as started:
        assert started.wait() == code


def test_a_signal_to_the_launcher_reaches_the_run(server: subprocess.Popen[bytes]) -> None:
    with launch(server, "wait") as started:
        processes(started)
        started.terminate()
        assert started.wait() == 7


def test_a_run_dies_with_its_launcher_and_leaves_others_alone(
    server: subprocess.Popen[bytes],
) -> None:
    with launch(server, "wait") as killed, launch(server, "wait") as other:
        run, _ = processes(killed)
        theirs, _ = processes(other)
        killed.kill()
        assert not psutil.wait_procs([run], timeout=10)[1]
        assert theirs.is_running()
        other.terminate()
        assert other.wait() == 7


def test_a_run_that_is_killed_looks_killed(server: subprocess.Popen[bytes]) -> None:
    with launch(server, "wait") as started:
        run, _ = processes(started)
        run.kill()
        assert started.wait() == -signal.SIGKILL


def test_the_server_ends_with_its_worker_but_not_before_the_last_run(
    server: subprocess.Popen[bytes],
) -> None:
    with launch(server, "wait") as started:
        processes(started)
        server.stdin.close()  # type: ignore[union-attr]
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.2)
        started.terminate()
        assert started.wait() == 7
        assert server.wait(10) == 0


@pytest.mark.parametrize("dead", ["never there", "killed"])
def test_a_run_starts_cold_where_no_server_answers(
    server: subprocess.Popen[bytes], dead: str
) -> None:
    server.kill()
    server.wait()
    if dead == "never there":
        (server.folder / launcher.ADDRESS).unlink()  # type: ignore[attr-defined]
    with launch(server) as started:
        _, parent = processes(started)
        assert parent == os.getpid()
        assert started.wait() == 0


def test_a_run_with_other_libraries_settings_than_its_workers_starts_cold() -> None:
    fork_server = ForkServer()
    assert fork_server.command({"OMP_NUM_THREADS": "17"}) == COLD
    assert fork_server.command({"PREFECT_API_URL": "http://elsewhere/api"}) == COLD
    fork_server.close()


@dataclass(frozen=True)
class Worker:
    """What a worker does: it starts runs that want something in memory."""

    fork_server: ForkServer
    log: Path  # a line for each time that something was read

    def start(self, name: str, what: str = "") -> subprocess.Popen[str]:
        environment = {**os.environ, "HIERDIFF_": "", "PREFECT__WHAT": ""}
        wanted = Needed("held_of_a_test:read", {"name": name, "log": str(self.log)})
        command = list(self.fork_server.command(environment, wanted))
        command[-1] = "run_with_what_is_held"
        environment["WHAT"] = what
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def output(self, name: str) -> str:
        return self.start(name).communicate()[0].strip()

    @property
    def read(self) -> list[str]:
        return self.log.read_text().split()


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker whose temporary folder has a path that is too long for a socket's name."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (folder / "held_of_a_test.py").write_text(HELD)
    (folder / "run_with_what_is_held.py").write_text(RUN_WITH)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path.cwd()}")
    fork_server = ForkServer(imported=("json",))
    yield Worker(fork_server, tmp_path / "log")
    fork_server.close()
    assert fork_server._process is not None
    assert fork_server._process.wait(10) == 0  # and with it all that it forked


def test_runs_share_what_was_read_once_for_the_first(worker: Worker) -> None:
    assert [worker.output("one") for _ in range(3)] == ["one True"] * 3
    assert worker.read == ["one"]


def test_a_holder_makes_way_for_the_next_and_spares_its_runs(worker: Worker) -> None:
    with worker.start("one", "wait") as earlier:
        assert earlier.stdout.readline() == "one True\n"  # type: ignore[union-attr]
        assert worker.output("two") == "two True"
        assert earlier.poll() is None
        earlier.terminate()
        assert earlier.wait() == -signal.SIGTERM
    assert worker.output("two") == "two True"
    assert worker.read == ["one", "two"]


def test_a_run_that_crashes_leaves_what_is_held_to_the_next(worker: Worker) -> None:
    with worker.start("one", "wait") as crashed:
        crashed.stdout.readline()  # type: ignore[union-attr]
        crashed.kill()
    assert worker.output("one") == "one True"
    assert worker.read == ["one"]


def test_a_run_reads_for_itself_what_nobody_could_hold(worker: Worker) -> None:
    assert worker.output("missing") == "nothing False"
    assert worker.output("one") == "one True"


def test_what_a_holder_died_of_is_read_again(worker: Worker) -> None:
    worker.output("one")
    server = psutil.Process(worker.fork_server._process.pid)  # type: ignore[union-attr]
    (holder,) = server.children()
    holder.kill()
    assert not psutil.wait_procs([holder], timeout=10)[1]
    assert worker.output("one") in ("one True", "nothing False")  # its end may not be known yet
    assert worker.output("one") == "one True"
    assert worker.read == ["one", "one"]
