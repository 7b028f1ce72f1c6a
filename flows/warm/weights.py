"""Weights that a worker holds between flow runs, so that they are read once for all of them.

A process that starts flow runs reads them into main memory. On a CPU the runs share that memory; to
a GPU each run copies them from there, since a context on a GPU does not outlive a fork.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from flows.quiet import quiet_libraries
from hierdiff_core.errors import HierdiffError
from hierdiff_core.models.loaded import hold_networks
from hierdiff_core.recipe import Recipe


def hold_weights(recipe: Mapping[str, Any], digests: str) -> None:
    """Read the weights of a recipe; ends the process where they cannot be had: the run says why."""
    quiet_libraries()  # a progress bar starts a thread
    torch.get_num_threads()  # which is decided by the first who asks, and not by the limit below
    try:
        # A process with threads must not be forked.
        with threadpool_limits(1, user_api="openmp"):
            hold_networks(Recipe.from_json(recipe), Path(digests))
    except HierdiffError:
        raise SystemExit(1) from None
