"""Workers as processes of their own, each of which says when a call of the denoiser has ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from flows.quiet import quiet_libraries
from hierdiff_core.errors import HierdiffError
from hierdiff_core.models.kandinsky22 import Decoder
from tasks.errors import LeaseHeld
from tasks.settings import Settings, read_settings
from tasks.stores import open_patiently
from tasks.worker.denoise import denoise_shard

# Processes are forked from one that has imported everything and computed nothing.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["benchmarks.faults.worker"])


@dataclass
class Worker:
    """A worker of one shard, under way or ended."""

    process: BaseProcess
    line: Connection
    calls: list[float] = field(default_factory=list)  # times at which calls ended
    ended: str = ""  # error's name, or the evaluations

    def read(self, seconds: float = 0.0) -> None:
        """Take in what it has said, waiting so long for the first word."""
        try:
            while self.line.poll(seconds):
                kind, value = self.line.recv_bytes().decode().split(" ", 1)
                if kind == "call":
                    self.calls.append(float(value))
                else:
                    self.ended = value
                seconds = 0.0
        except EOFError:
            return

    def await_calls(self, count: int, seconds: float = 60.0) -> bool:
        """Wait until it has made so many calls; return whether it has, and is still at work."""
        until = time.monotonic() + seconds
        while len(self.calls) < count and self.process.is_alive() and time.monotonic() < until:
            self.read(0.01)
        return len(self.calls) >= count and not self.ended

    def await_end(self, seconds: float = 120.0) -> None:
        """Wait until it has ended; one that does not is killed and counts as `hung`."""
        until = time.monotonic() + seconds
        while self.process.is_alive() and time.monotonic() < until:
            self.read(0.05)
        self.read()
        if self.process.is_alive():
            self.ended = "hung"
            self.process.kill()
        self.process.join()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it is still there."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, number)


def start_worker(settings: Settings, run: uuid.UUID, shard: int, owner: str) -> Worker:
    """Start a worker of one shard; it tries again while another owner holds the lease."""
    mine, its = CONTEXT.Pipe(duplex=False)
    about = (environment(settings), str(run), shard, owner, its)
    process = CONTEXT.Process(target=_work, args=about, daemon=True)
    process.start()
    its.close()
    return Worker(process, mine)


def _work(given: Mapping[str, str], run: str, shard: int, owner: str, line: Any) -> None:
    os.environ.update(given)
    torch.set_num_threads(1)
    quiet_libraries()
    predict = Decoder.predict

    def writing(self: Decoder, *args: Any) -> torch.Tensor:
        made = predict(self, *args)
        line.send_bytes(f"call {time.time()}".encode())
        return made

    Decoder.predict = writing  # type: ignore[method-assign,assignment]
    try:
        line.send_bytes(f"ended {_denoise(run, shard, owner)}".encode())
    except HierdiffError as error:
        line.send_bytes(f"ended {type(error).__name__}".encode())


def _denoise(run: str, shard: int, owner: str) -> int:
    settings = read_settings()
    with open_patiently(settings) as stores:
        while True:
            try:
                return denoise_shard(stores, settings, uuid.UUID(run), shard, owner).evaluations
            except LeaseHeld:
                time.sleep(0.05)


def environment(settings: Settings) -> dict[str, str]:
    """Return settings as the environment of a process has them."""
    fields = settings.model_dump(exclude_none=True)
    fields |= {f"option_{name}": value for name, value in fields.pop("options").items()}
    given = {}
    for name, value in fields.items():
        plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        if plain not in ("", {}, ()):
            given[f"HIERDIFF_{name.upper()}"] = str(plain)
    return given
