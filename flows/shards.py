"""Shards: the open subtrees of a night, each run to its end by a worker of the GPU pool."""

from __future__ import annotations

import threading
import uuid

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait

from flows.children import await_child, child_name, ensure_child
from flows.errors import SubtreeFailed
from tasks.ledger import open_subtrees, summarise
from tasks.pulse import Pulse
from tasks.settings import read_settings
from tasks.states import SubtreeState
from tasks.stores import Stores


def run_open(stores: Stores, run: uuid.UUID, night: str) -> None:
    """Run the trunk, then all other subtrees that are open; the report lists what failed."""
    with stores.session() as session:
        waiting = open_subtrees(session, run)
    if 0 in waiting:
        run_trunk(stores, run, f"{night} {child_name(0)}")
    given_up = threading.Event()
    rest = [
        run_subtree.submit(stores, str(run), shard, f"{night} {child_name(shard)}", given_up)
        for shard in waiting
        if shard
    ]
    try:
        wait(rest)
    finally:
        given_up.set()  # the process cannot end before its threads


def run_trunk(stores: Stores, run: uuid.UUID, name: str) -> None:
    """Run the trunk; rows of it that failed by themselves keep no subtree from being run."""
    try:
        run_subtree(stores, str(run), 0, name)
    except SubtreeFailed:
        with stores.session() as session:
            trunk = summarise(session, run).subtrees[0]
        if trunk.state is not SubtreeState.INCOMPLETE:
            raise


@task(name="run subtree", task_run_name="run {name}", cache_policy=NO_CACHE)
def run_subtree(
    stores: Stores, run_id: str, shard: int, name: str, given_up: threading.Event | None = None
) -> None:
    """Have a worker of the GPU pool run one shard to its end, or wait until that is given up.

    Raises SubtreeFailed.
    """
    patience = read_settings().patience_seconds
    pulse = Pulse(stores, uuid.UUID(run_id), shard)
    child = await_child(ensure_child(run_id, shard, name), patience, given_up, pulse.is_silent)
    if child.state is None or not child.state.is_completed():
        state = child.state.name if child.state else "unknown"
        raise SubtreeFailed(name=name, state=state, child=child.name)
