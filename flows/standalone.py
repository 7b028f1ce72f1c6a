"""The embedded stack: PostgreSQL, S3, a Prefect server and its workers on this machine.

Knows in which order the services start and stop, and who needs whose address. Everything it keeps
lies under one folder, `home`; nothing of it runs on after the stack, however the stack ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from flows import guard, object_store, orchestrator, postgres
from flows.home import (
    clean_environment,
    locked,
    prepare_home,
    read_credentials,
    write_stack_file,
)
from flows.services import Guard, Service, started_on_free_port
from tasks.database import migrate
from tasks.settings import STACK_FILE, read_settings
from tasks.storage import connect_bucket

PATIENCE = 120.0  # seconds until a service that does not get ready counts as broken


@dataclass
class Stack:
    """A running stack; `services` are handles to stop, kill and start each of them."""

    home: Path
    addresses: dict[str, str] = field(default_factory=dict, repr=False)  # what stack.env holds
    services: dict[str, Service] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # from the start until each was ready

    @property
    def api_url(self) -> str:
        """The Prefect API, for `PREFECT_API_URL`."""
        return self.addresses["PREFECT_API_URL"]

    @property
    def ui_url(self) -> str:
        """The Prefect UI, for people."""
        return self.api_url.removesuffix("/api")


@contextmanager
def standalone(
    home: Path,
    *,
    gpus: int | None = None,
    port: int = 0,
    prefect_yaml: Path | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Iterator[Stack]:
    """Start the whole stack, yield it ready, and stop everything at the end.

    `gpus` is how many workers serve the pool `gpu`, one for each device; None asks the driver, and
    0 means one worker on the CPU. `port` is where the Prefect server listens if it is free; 0 is
    any. `announce` is given one line for each step that is done. SIGTERM and a lost terminal end
    the block as Ctrl-C does. Raises StackRunning, ServiceFailed, MissingPart, MissingUser,
    UnusableHome.
    """
    home = prepare_home(home)
    with locked(home) as lock, _signals_end_the_block():
        guard.end(guard.marked(f"{home}#"))  # what a stack left whose guard was killed as well
        start = _Start(Stack(home), Guard(home, lock), gpus, port, prefect_yaml, announce)
        try:
            start.run()
            yield start.stack
        finally:
            with _deaf():
                _stop(start.stack)
                start.guard.close()


@contextmanager
def connected(addresses: Mapping[str, str]) -> Iterator[None]:
    """Make this process a client of a stack: our settings and Prefect's point at it."""
    from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

    before = dict(os.environ)
    proxies = {name: f"127.0.0.1,{before.get(name, '')}" for name in ("NO_PROXY", "no_proxy")}
    os.environ.update({**addresses, **proxies})
    os.environ.pop("PREFECT_API_KEY", None)
    try:
        with temporary_settings(
            {PREFECT_API_URL: addresses["PREFECT_API_URL"]}, restore_defaults={PREFECT_API_KEY}
        ):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class _Start:
    """What the steps of a start hand to each other; the stack itself is what they leave."""

    stack: Stack
    guard: Guard
    gpus: int | None
    port: int
    prefect_yaml: Path | None
    announce: Callable[[str], None]
    given_up: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Start the three servers side by side, then everything that needs all of them."""
        home = self.stack.home
        self.base = {**clean_environment(home), **orchestrator.prefect_environment(home)}
        self._together(self._start_postgres, self._start_s3, self._start_prefect)
        self.base.update(self.stack.addresses)
        write_stack_file(home, self.stack.addresses)
        self._together(self._start_workers, self._register)
        self._done("stack")

    def _together(self, *steps: Callable[[], None]) -> None:
        with ThreadPoolExecutor(len(steps)) as pool:
            running: list[Future[None]] = [pool.submit(step) for step in steps]
            try:
                for step in running:
                    step.result()
            except BaseException:
                self.given_up.set()  # the other steps end soon; the pool waits for them
                raise

    def _start_postgres(self) -> None:
        log = self._log("postgres")
        cluster = postgres.prepare(self.stack.home / "postgres", log)
        service = Service(
            "postgres",
            cluster.command,
            {**self.base, "LC_ALL": "C"},
            log,
            self.guard,
            cluster.answers,
            stop_signal=signal.SIGINT,  # fast: ends the sessions, loses nothing
            user=cluster.user,
        )
        self._launch(service)
        migrate(cluster.url)
        self.stack.addresses["HIERDIFF_DATABASE_URL"] = cluster.url
        self._done("postgres")

    def _start_s3(self) -> None:
        home = self.stack.home
        credentials = read_credentials(home)
        environment = {**self.base, **object_store.s3_environment(credentials)}

        def on_port(port: int) -> Service:
            command = object_store.s3_command(home / "s3", port)
            self.stack.addresses["HIERDIFF_S3_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
            log, ready = self._log("s3"), lambda: object_store.listens(port)
            return self._known(Service("s3", command, environment, log, self.guard, ready))

        started_on_free_port(on_port, PATIENCE, self.given_up.is_set)
        self.stack.addresses |= {
            "HIERDIFF_S3_BUCKET": object_store.BUCKET,
            "HIERDIFF_S3_ACCESS_KEY": credentials.access_key,
            "HIERDIFF_S3_SECRET_KEY": credentials.secret_key,
        }
        settings = {
            name.removeprefix("HIERDIFF_").lower(): text
            for name, text in self.stack.addresses.items()
            if name.startswith("HIERDIFF_S3_")
        }
        connect_bucket(read_settings(home=home, **settings), create=True)
        self._done("s3")

    def _start_prefect(self) -> None:
        def on_port(port: int) -> Service:
            url = f"http://127.0.0.1:{port}/api"
            self.stack.addresses["PREFECT_API_URL"] = url
            environment = {**self.base, "PREFECT_API_URL": url}
            command, log = orchestrator.server_command(port), self._log("prefect")
            ready = lambda: orchestrator.answers(url)  # noqa: E731
            return self._known(Service("prefect", command, environment, log, self.guard, ready))

        started_on_free_port(on_port, PATIENCE, self.given_up.is_set, self.port)
        from flows import deployments

        deployments.register_pools(self.stack.api_url)
        self._done("prefect")

    def _start_workers(self) -> None:
        gpus = orchestrator.visible_gpus() if self.gpus is None else self.gpus
        devices = {"worker-gpu" if i == 0 else f"worker-gpu-{i}": str(i) for i in range(gpus)}
        self._start_worker("worker-cpu", "cpu", 4, {"CUDA_VISIBLE_DEVICES": ""})
        for name, device in devices.items():
            self._start_worker(name, "gpu", 1, {"CUDA_VISIBLE_DEVICES": device})
        if not devices:
            self._start_worker("worker-gpu", "gpu", 1, {})
        self._done("workers")

    def _start_worker(self, name: str, pool: str, limit: int, device: dict[str, str]) -> None:
        command = orchestrator.worker_command(pool, name, limit)
        environment, log = {**self.base, **device}, self._log(name)
        # A worker needs no one's answer: runs wait in the pool until it asks for them.
        self._launch(Service(name, command, environment, log, self.guard, lambda: True))

    def _register(self) -> None:
        from flows import deployments

        deployments.register_deployments(self.base, self._log("deployments"), self.prefect_yaml)
        self._done("deployments")

    def _launch(self, service: Service) -> None:
        self._known(service).start()
        service.await_ready(PATIENCE, self.given_up.is_set)

    def _known(self, service: Service) -> Service:
        self.stack.services[service.name] = service
        return service

    def _log(self, service: str) -> Path:
        return self.stack.home / "logs" / f"{service}.log"

    def _done(self, step: str) -> None:
        self.stack.seconds[step] = time.monotonic() - self.began
        self.announce(f"{step} is ready after {self.stack.seconds[step]:.1f} s")


def _stop(stack: Stack) -> None:
    """Workers first, for their runs still need the servers; then the servers, side by side."""
    (stack.home / STACK_FILE).unlink(missing_ok=True)
    workers = [s for name, s in stack.services.items() if name.startswith("worker")]
    servers = [s for name, s in stack.services.items() if not name.startswith("worker")]
    for group in (workers, servers):
        if group:
            with ThreadPoolExecutor(len(group)) as pool:
                list(pool.map(Service.stop, group))


@contextmanager
def _signals_end_the_block() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals; the guard still watches
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {n: signal.signal(n, leave) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _deaf() -> Iterator[None]:
    """A second Ctrl-C must not cut the stopping short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
