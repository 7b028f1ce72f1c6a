"""A worker for tests: runs one shard and is killed, without a word, where it is told to be.

Usage: python -m tests.tasks.worker.shard_process RUN SHARD OWNER [POINT NUMBER]

Points: `round` after the denoiser's nth call, `object` before the nth object is stored, `stored`
after it is, `row` before the nth row of a finished segment, `poison` whenever a call has a row
that is steered by one of the vectors in a file, which is then the NUMBER. Settings come from the
environment.
"""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import torch

from flows.quiet import quiet_libraries
from hierdiff_core.models.kandinsky22 import EMBEDDING, Decoder
from tasks.settings import read_settings
from tasks.storage import Bucket
from tasks.stores import open_stores
from tasks.worker import write_batch
from tasks.worker.denoise import denoise_shard


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


def main(run: str, shard: str, owner: str, point: str = "", number: str = "0") -> None:
    """Run the shard and print how many evaluations it took."""
    torch.set_num_threads(1)
    quiet_libraries()
    if point == "poison":
        die_of(number)
    elif point:
        die_at(point, int(number))
    settings = read_settings()
    with open_stores(settings) as stores:
        done = denoise_shard(stores, settings, uuid.UUID(run), int(shard), owner)
    print(done.evaluations)


if __name__ == "__main__":
    main(*sys.argv[1:])
