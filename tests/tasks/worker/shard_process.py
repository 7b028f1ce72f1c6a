"""A worker for tests: runs one shard and is killed, without a word, where it is told to be.

Points: `round` after the denoiser's nth call, `object` before the nth object is stored, `stored`
after it is, `row` before the nth row of a finished segment, `poison` whenever a call has a row
that is steered by one of the vectors in a file, which is then the number.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import numpy as np
import torch

from benchmarks.faults.worker import CONTEXT
from flows.quiet import quiet_libraries
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from tasks.settings import read_settings
from tasks.storage import Bucket
from tasks.stores import open_stores
from tasks.worker import write_batch
from tasks.worker.denoise import denoise_shard
from tests.tasks.night_kit import SmallNight, environment


def die_at(point: str, number: int) -> None:
    """Arrange for SIGKILL at the nth time that a point is reached."""
    calls = count(1)

    def dying(step: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            mine = next(calls)  # several threads may come here at once
            if mine == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = step(*args, **kwargs)
            if mine == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return stepped

    if point == "round":
        Decoder.predict = dying(Decoder.predict, after=True)  # type: ignore[method-assign]
    elif point in ("object", "stored"):
        Bucket.put = dying(Bucket.put, after=point == "stored")  # type: ignore[method-assign]
    elif point == "row":
        write_batch.finish_segments = _dying_before_row(write_batch.finish_segments, number)


def die_of(file: str) -> None:
    """Arrange for SIGKILL whenever a call has a row that is steered by one of a file's vectors."""
    poison, predict = torch.from_numpy(np.load(file)), Decoder.predict

    def dying(self: Decoder, latents: Any, timesteps: Any, conditioning: Any) -> torch.Tensor:
        gaps = (conditioning[EMBEDDING][:, None] - poison[None]).abs().amax(dim=2)
        if (gaps < 1e-6).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return predict(self, latents, timesteps, conditioning)

    Decoder.predict = dying  # type: ignore[method-assign]


def _dying_before_row(finish: Callable[..., None], number: int) -> Callable[..., None]:
    left = [number]

    def finish_until(session: Any, run: uuid.UUID, stored: dict[int, Any]) -> None:
        left[0] -= len(stored)
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        finish(session, run, stored)

    return finish_until


def run_process(night: SmallNight, shard: int, point: str = "", number: object = "") -> int:
    """Run a shard in a process of its own, as Prefect does again after each crash.

    Returns its exit code, which is negative where a signal ended it.
    """
    about = (environment(night.settings), str(night.run), shard, point, str(number))
    process = CONTEXT.Process(target=_run, args=about, daemon=True)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(given: Mapping[str, str], run: str, shard: int, point: str, number: str) -> None:
    os.environ.update(given)
    torch.set_num_threads(1)
    quiet_libraries()
    if point == "poison":
        die_of(number)
    elif point:
        die_at(point, int(number))
    settings = read_settings()
    with open_stores(settings) as stores:
        denoise_shard(stores, settings, uuid.UUID(run), shard, "worker")
