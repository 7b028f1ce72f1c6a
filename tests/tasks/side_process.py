"""A process of one side for tests: prints the classes of the networks that it has built.

Usage: python -m tests.tasks.side_process embed BATCH
       python -m tests.tasks.side_process denoise RUN SHARD

Settings come from the environment.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import torch

from flows.quiet import quiet_libraries
from tasks import stages
from tasks.errors import LostEmbeddings
from tasks.settings import read_settings
from tasks.stores import open_stores
from tasks.worker.denoise import denoise_shard


def watch_networks() -> set[str]:
    """Return a set in which the class of every network is put that is built from now on."""
    built: set[str] = set()
    make = torch.nn.Module.__init__

    def watched(self: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        built.add(type(self).__name__)
        make(self, *args, **kwargs)

    torch.nn.Module.__init__ = watched  # type: ignore[method-assign]
    return built


def main(side: str, number: str, shard: str = "0") -> None:
    quiet_libraries()
    built, settings, lost = watch_networks(), read_settings(), 0
    with open_stores(settings) as stores:
        if side == "embed":
            stages.embed(stores, settings, int(number), lambda done, total: None)
        else:
            try:
                denoise_shard(stores, settings, uuid.UUID(number), int(shard), "worker")
            except LostEmbeddings as missing:
                lost = len(missing.keys)
    print(json.dumps({"built": sorted(built), "lost": lost}))


if __name__ == "__main__":
    main(*sys.argv[1:])
