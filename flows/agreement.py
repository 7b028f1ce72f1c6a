"""Agreement: the ledger says of a night what Prefect says, where no process was there to report it.

A flow run that ends while it waits in its queue, cancelled in the UI for example, runs no hook.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType

from flows.children import cancel_children
from tasks.ledger import end_run, open_subtrees, unattended_runs
from tasks.states import RunState
from tasks.stores import Stores

_AT_ONCE = 200  # flow runs that one question is about
# What an end means for a run that is not complete; another state is none.
_MEANING = {
    StateType.CANCELLED: RunState.CANCELLED,
    StateType.FAILED: RunState.FAILED,
    StateType.CRASHED: RunState.FAILED,
    StateType.COMPLETED: RunState.FAILED,
}


def agree(stores: Stores) -> None:
    """End the runs that are open in the ledger and whose flow run has ended or is gone.

    Asks the Prefect server only where such a run may be; while it is away, all stays as it is.
    """
    with stores.session() as session:
        waiting = unattended_runs(session, _AT_ONCE)
    if not waiting:
        return
    with suppress(httpx.HTTPError):
        with get_client(sync_client=True) as client:
            ends = _ends(client, list(waiting))
        for flow_run, end in ends.items():
            _end(stores, waiting[flow_run], flow_run, end)


def _ends(client: SyncPrefectClient, flow_runs: list[str]) -> dict[str, RunState]:
    """Return the state of the runs whose flow runs have ended; one that is gone has failed."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(each) for each in flow_runs]))
    found = client.read_flow_runs(flow_run_filter=wanted, limit=_AT_ONCE)
    ends = dict.fromkeys(flow_runs, RunState.FAILED)
    for each in found:
        kind = each.state.type if each.state else None
        if kind in _MEANING:
            ends[str(each.id)] = _MEANING[kind]
        else:
            del ends[str(each.id)]
    return ends


def _end(stores: Stores, run: UUID, flow_run: str, end: RunState) -> None:
    with stores.session() as session:
        ended = end_run(session, flow_run, end)
        subtrees = open_subtrees(session, run)
    if ended is not None and end is RunState.CANCELLED:
        cancel_children(str(run), subtrees)
