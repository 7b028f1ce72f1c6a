"""A worker whose denoiser only sleeps: ledger, bucket and all else are what they are at night.

It counts how long it waits for the ledger: the driver's waits for the server's answers.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import psycopg
import torch
from sqlalchemy import Engine, event

from hierdiff_core.embedding import Conditioning, Slot
from hierdiff_core.models.family import load_family
from hierdiff_core.recipe import Recipe
from hierdiff_core.solver import NoiseSchedule
from tasks.settings import Settings
from tasks.stores import open_stores
from tasks.worker import denoise

SLOT = "y"  # of the made-up embeddings
_SIDE = 64  # pixels of a picture


@dataclass(frozen=True)
class Sleeper:
    """A denoiser that takes its time and computes nothing."""

    seconds: float  # that a call takes
    noise_schedule: NoiseSchedule
    began: list[float]  # when the first call did
    latent_shape: tuple[int, ...] = (4, _SIDE // 8, _SIDE // 8)
    slots: tuple[Slot, ...] = (Slot(SLOT, "vector"),)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        self.began.append(time.perf_counter())
        time.sleep(self.seconds)
        return torch.zeros_like(latents)

    def decode(self, latents: torch.Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        return np.zeros((len(latents), _SIDE, _SIDE, 3), np.uint8)


@dataclass
class SleepingModels:
    """Loads a sleeper for any recipe."""

    seconds: float
    began: list[float] = field(default_factory=list)

    def denoiser(self, recipe: Recipe, negative: Conditioning) -> Sleeper:
        schedule = load_family(recipe.family).load_schedule(recipe)
        return Sleeper(self.seconds, schedule, self.began)


@dataclass
class Waits:
    """What the threads of this process wait for the ledger."""

    device: float = 0.0  # seconds, of the thread that feeds the device
    beside: float = 0.0  # seconds, of all others
    statements: int = 0

    def add(self, seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            self.device += seconds
        else:
            self.beside += seconds


@dataclass(frozen=True)
class Worked:
    """What a worker says at its end."""

    evaluations: int
    seconds: float  # with the shard, from its lease on
    loading: float  # seconds of these before the first call
    device: float  # seconds that the device's thread waited for the ledger
    beside: float  # seconds that its other threads did
    statements: int


def work(
    settings: Settings, run: uuid.UUID, shard: int, seconds: float, answer: Connection
) -> None:
    """Run a shard with calls of so many seconds and send what it took; a process's body."""
    torch.set_num_threads(1)
    waits, models = _watch_ledger(), SleepingModels(seconds)
    with patch.object(denoise, "open_models", lambda _: models), open_stores(settings) as stores:
        waits.device = waits.statements = 0
        began = time.perf_counter()
        done = denoise.denoise_shard(stores, settings, run, shard, f"sleeper {shard}")
        took = time.perf_counter() - began
        first = models.began[0] if models.began else began
        answer.send(
            Worked(
                done.evaluations,
                took,
                first - began,
                waits.device,
                waits.beside,
                waits.statements,
            )
        )


def _watch_ledger() -> Waits:
    waits = Waits()
    wait = psycopg.Connection.wait

    def timed(self: Any, *given: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return wait(self, *given, **more)
        finally:
            waits.add(time.perf_counter() - began)

    psycopg.Connection.wait = timed  # type: ignore[method-assign]

    @event.listens_for(Engine, "after_cursor_execute")
    def count(*_: object) -> None:
        waits.statements += 1

    @event.listens_for(Engine, "do_connect")
    def connect(dialect: Any, _: object, given: Any, named: Any) -> Any:
        began = time.perf_counter()
        try:
            return dialect.connect(*given, **named)
        finally:
            waits.add(time.perf_counter() - began)

    return waits
