"""The whole stack for tests: Prefect server, workers, Postgres and S3, set for nights soon made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from flows.stack.orchestrator import connected
from flows.stack.standalone import Stack, standalone

SETTINGS = {
    "HIERDIFF_STEPS": "6",
    "HIERDIFF_OPTION_PRIOR_STEPS": "5",
    "HIERDIFF_SAVING": "0.4",
    "HIERDIFF_ACCEPT_LOSS": "true",
    "HIERDIFF_SHARDS": "2",
    "HIERDIFF_SOLVER": "ddpm",
    "HIERDIFF_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
}


@contextmanager
def night_stack() -> Iterator[Stack]:
    """Start it in a folder of its own; this process is its client."""
    torch.set_num_threads(1)
    # Not below pytest's folder: for root, PostgreSQL runs as another user, whom the next pytest
    # on this machine would lock out of it.
    with (
        TemporaryDirectory(prefix="hierdiff-night-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        home = Path(folder)
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setenv("HIERDIFF_HOME", str(home))
        with standalone(home, gpus=0) as running, connected(running.addresses):
            yield running
