"""The embedded stack: PostgreSQL, S3, a Prefect server and its workers on this machine.

Everything it keeps lies under one folder, `home`; nothing of it runs on after the stack, however
the stack ends.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.stack import guard, object_store, orchestrator, postgres
from flows.stack.home import (
    clean_environment,
    clear_home,
    locked,
    prepare_home,
    read_credentials,
    read_password,
    write_stack_file,
)
from flows.stack.services import Guard, Service, listens, started_on_free_port
from flows.stack.signals import leaving_on_signals, undisturbed
from tasks.database import migrate
from tasks.settings import STACK_FILE, read_settings
from tasks.storage import connect_bucket

PATIENCE = 120.0  # seconds until a service that does not get ready counts as broken
PARENTS = 4  # runs of the pool `cpu` at a time; they wait for their subtrees most of the time


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

    @property
    def password(self) -> str:
        """What the Prefect server asks for, from people and programs."""
        return self.addresses["PREFECT_API_AUTH_STRING"]


@contextmanager
def standalone(
    home: Path,
    *,
    gpus: int | None = None,
    port: int = 0,
    prefect_yaml: Path | None = None,
    fresh: bool = False,
    stores_only: bool = False,
    patience: float = PATIENCE,
    announce: Callable[[str], None] = lambda line: None,
) -> Iterator[Stack]:
    """Start the whole stack, yield it ready, and stop everything at the end.

    `gpus` is how many workers serve the pool `gpu`, one for each device; None asks the driver, and
    0 means one worker on the CPU. `port` is where the Prefect server listens if it is free; 0 is
    any. `prefect_yaml` names other deployments than the package's own. `fresh` forgets all that an
    earlier stack kept in this home. `stores_only` leaves out Prefect and its workers, for those who
    run shards in a process of their own. `patience` is how many seconds a service may take to get
    ready. `announce` is given one line for each step that is done.
    SIGTERM and a lost terminal end the block as Ctrl-C does.
    Raises StackRunning, ServiceFailed, MissingPart, MissingUser, UnusableHome.
    """
    home = prepare_home(home)
    with locked(home) as lock, leaving_on_signals():
        guard.end(guard.marked(f"{home}#"))  # left by a stack whose guard was killed as well
        if fresh:
            clear_home(home)
        watch = Guard(home, lock)
        stack = Stack(home)
        start = _Start(stack, watch, gpus, port, prefect_yaml, stores_only, patience, announce)
        try:
            start.run()
            yield start.stack
        finally:
            with undisturbed():
                _stop(start.stack)
                start.guard.close()


@dataclass
class _Start:
    """A start of the stack: the state that its steps share."""

    stack: Stack
    guard: Guard
    gpus: int | None
    port: int
    prefect_yaml: Path | None
    stores_only: bool
    patience: float  # seconds
    announce: Callable[[str], None]
    given_up: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Start the servers side by side, then everything that needs all of them."""
        home = self.stack.home
        self.base = {**clean_environment(home), **orchestrator.prefect_environment(home)}
        stores = (self._start_postgres, self._start_s3)
        self._together(*stores, *(() if self.stores_only else (self._start_prefect,)))
        self.base.update(self.stack.addresses)
        write_stack_file(home, self.stack.addresses)
        if not self.stores_only:
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
        cluster = postgres.prepare(self.stack.home / "postgres", self._log("postgres"))
        service = self._service(
            "postgres", cluster.command, {"LC_ALL": "C"}, lambda _: cluster.answers()
        )
        service.stop_signal = signal.SIGINT  # fast: ends the sessions, loses nothing
        service.user = cluster.user
        service.start()
        service.await_ready(self.patience, self.given_up.is_set)
        migrate(cluster.url)
        self.stack.addresses["HIERDIFF_DATABASE_URL"] = cluster.url
        self._done("PostgreSQL")

    def _start_s3(self) -> None:
        home = self.stack.home
        credentials = read_credentials(home)
        environment = object_store.s3_environment(credentials)

        def on_port(port: int) -> Service:
            command = object_store.s3_command(home / "s3", port)
            self.stack.addresses["HIERDIFF_S3_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
            return self._service("s3", command, environment, lambda s3: listens(s3, port))

        started_on_free_port(on_port, self.patience, self.given_up.is_set)
        self.stack.addresses |= {
            "HIERDIFF_S3_BUCKET": object_store.BUCKET,
            "HIERDIFF_S3_ACCESS_KEY": credentials.access_key,
            "HIERDIFF_S3_SECRET_KEY": credentials.secret_key,
        }
        given = {
            name.removeprefix("HIERDIFF_").lower(): text
            for name, text in self.stack.addresses.items()
            if name.startswith("HIERDIFF_S3_")
        }
        connect_bucket(read_settings(home=home, **given), create=True)
        self._done("S3")

    def _start_prefect(self) -> None:
        # Whoever may start flow runs has the workers do whatever their user can.
        password = read_password(self.stack.home)
        self.stack.addresses["PREFECT_API_AUTH_STRING"] = password

        def on_port(port: int) -> Service:
            url = f"http://127.0.0.1:{port}/api"
            self.stack.addresses["PREFECT_API_URL"] = url
            command = orchestrator.server_command(port)
            environment = {"PREFECT_API_URL": url, "PREFECT_SERVER_API_AUTH_STRING": password}
            return self._service(
                "prefect",
                command,
                environment,
                lambda prefect: listens(prefect, port) and orchestrator.answers(url),
            )

        started_on_free_port(on_port, self.patience, self.given_up.is_set, self.port)
        # Imported late: Prefect takes a second or two to import, and its server more to start.
        from flows.deployments import register_pools

        with orchestrator.pointed_at(self.stack.addresses):
            register_pools(read_settings(home=self.stack.home).text_pool)
        self._done("Prefect")

    def _start_workers(self) -> None:
        gpus = orchestrator.visible_gpus() if self.gpus is None else self.gpus
        workers = [self._worker("worker-cpu", "cpu", PARENTS, {"CUDA_VISIBLE_DEVICES": ""})]
        for number in range(max(gpus, 1)):
            device = {"CUDA_VISIBLE_DEVICES": str(number)} if gpus else {}
            name = f"worker-gpu-{number}" if number else "worker-gpu"
            workers.append(self._worker(name, "gpu", 1, device))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.await_ready(self.patience, self.given_up.is_set)
        self._done("workers")

    def _worker(self, name: str, pool: str, limit: int, device: dict[str, str]) -> Service:
        # Prefect keeps a folder there that two users of a machine cannot share.
        temporary = {"TMPDIR": str(self.stack.home / "tmp")}
        command = orchestrator.worker_command(pool, name, limit)
        worker = self._service(name, command, device | temporary, orchestrator.worker_polls)
        # A worker that stops by itself ends its runs without a report. Held still, it takes no more
        # runs, and those that it has report to the server that they were stopped.
        worker.stop_signal = signal.SIGSTOP
        return worker

    def _register(self) -> None:
        from flows.deployments import register_deployments

        settings, log = read_settings(home=self.stack.home), self._log("deployments")
        pool, file = settings.text_pool, self.prefect_yaml
        with orchestrator.pointed_at(self.stack.addresses):
            register_deployments(self.base, log, settings.night, file, text_pool=pool)
        self._done("deployments")

    def _service(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        ready: Callable[[Service], bool],
    ) -> Service:
        whole = {**self.base, **environment}
        service = Service(name, command, whole, self._log(name), self.guard, ready)
        self.stack.services[name] = service  # known before it starts, so that it will be stopped
        return service

    def _log(self, service: str) -> Path:
        return self.stack.home / "logs" / f"{service}.log"

    def _done(self, step: str) -> None:
        self.stack.seconds[step] = time.monotonic() - self.began
        self.announce(f"{step} ready after {self.stack.seconds[step]:.1f} s")


def _stop(stack: Stack) -> None:
    """Workers first, for their runs still need the servers; then the servers, side by side."""
    (stack.home / STACK_FILE).unlink(missing_ok=True)
    workers = [s for name, s in stack.services.items() if name.startswith("worker")]
    servers = [s for name, s in stack.services.items() if not name.startswith("worker")]
    for group in (workers, servers):
        with ThreadPoolExecutor(max(len(group), 1)) as pool:
            list(pool.map(Service.stop, group))
    postgres.remove_socket_folder(stack.home / "postgres")
    shutil.rmtree(stack.home / "tmp", ignore_errors=True)
