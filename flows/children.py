"""Children: the flow runs that carry out a night's subtrees.

Each is started, attached to or tried again, and its end is awaited. There is one child for each
shard of a run, for good: its idempotency key names them, and a retry sets that same run back in its
queue, as the UI's Retry does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelling

from flows.errors import WaitGivenUp
from flows.question import Question

log = logging.getLogger(__name__)

DEPLOYMENT = "subtree/subtree"

_POLL = 1.0  # seconds
_REVIVAL = 180.0  # seconds that a crashed child is given to be queued again
_FINAL = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED})
# Ends after which the same run is queued again; a completed one only where the ledger disagrees.
_ENDED = _FINAL | {StateType.CRASHED}


def child_name(shard: int) -> str:
    """Return the name of a shard for people."""
    return "trunk" if shard == 0 else f"subtree {shard}"


def ensure_child(run_id: str, shard: int, name: str) -> UUID:
    """Make sure that a child is queued or running for an incomplete shard; return its id."""
    parameters: dict[str, object] = {"run_id": run_id, "shard": shard, "name": name}
    return start_child(DEPLOYMENT, child_key(run_id, shard), parameters, name)


def start_child(deployment: str, key: str, parameters: dict[str, object], name: str) -> UUID:
    """Make sure that the one flow run of a key is queued or running; return its id."""
    with get_client(sync_client=True) as client:
        known = find_child(client, key)
        if known is not None:
            if known.state is not None and known.state.type in _ENDED:
                queue_again(client, known.id)
            return known.id
    started = run_deployment(
        deployment,
        parameters=parameters,
        idempotency_key=key,
        flow_run_name=name,
        timeout=0,
        as_subflow=True,
    )
    return started.id  # type: ignore[union-attr]


def await_child(
    child: UUID,
    patience: float,
    given_up: threading.Event | None = None,
    is_silent: Callable[[], bool] = lambda: False,
) -> FlowRun:
    """Wait until a child has ended, for as long as it takes, and return it.

    A crashed child is queued again by an automation, so a crash counts as the end only where it
    stays one; a running one that is silent is queued again here, once for each time that it began.
    The server may be away for `patience` seconds at a time. Raises WaitGivenUp.
    """
    given_up = given_up or threading.Event()
    crashed_since: float | None = None
    lost: UUID | None = None  # the state in which it was found silent
    with get_client(sync_client=True) as client:
        look = Question(lambda: client.read_flow_run(child), patience)
        while True:
            run = look()
            if run is None:
                _pause(given_up)
                continue
            kind = run.state.type if run.state else None
            if kind in _FINAL:
                return run
            if kind is not StateType.CRASHED:
                crashed_since = None
            elif crashed_since is None:
                crashed_since = time.monotonic()
            elif time.monotonic() - crashed_since > _REVIVAL:
                return run
            if run.state and kind is StateType.RUNNING and is_silent() and run.state.id != lost:
                log.warning("%s is silent; it is queued again, for another worker", run.name)
                lost = run.state.id
                queue_again(client, child)
            _pause(given_up)


def _pause(given_up: threading.Event) -> None:
    if given_up.wait(_POLL):
        raise WaitGivenUp()


def cancel_children(run_id: str, shards: Iterable[int]) -> None:
    """Ask the children of a run that have not ended to stop; what they stored is kept."""
    with get_client(sync_client=True) as client:
        for shard in shards:
            child = find_child(client, child_key(run_id, shard))
            if child is not None and child.state is not None and not child.state.is_final():
                client.set_flow_run_state(child.id, Cancelling())


def child_key(run_id: str, shard: int) -> str:
    """Return the idempotency key of a child: one for each shard of a run."""
    return f"hierdiff/{run_id}/{shard}"


def find_child(client: SyncPrefectClient, key: str) -> FlowRun | None:
    """Return the child of a key, or None where there is none."""
    wanted = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
    found = client.read_flow_runs(flow_run_filter=wanted, limit=1)
    return found[0] if found else None


def queue_again(client: SyncPrefectClient, flow_run: UUID) -> None:
    """Do what the UI's Retry does: the same run awaits a retry."""
    client.set_flow_run_state(flow_run, AwaitingRetry(), force=True)


def queue_ended(flow_run: UUID) -> None:
    """Queue a flow run again where it has ended; does nothing where it is gone or at work."""
    with get_client(sync_client=True) as client:
        try:
            known = client.read_flow_run(flow_run)
        except ObjectNotFound:
            return
        if known.state is not None and known.state.is_final():
            queue_again(client, flow_run)
