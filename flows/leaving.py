"""Leaving: a worker that is asked to stop lets its flow runs end in order and be queued again.

The run is told first, so that its end counts as no crash, and is queued at once: whoever takes it
waits for its lease, which is given back as soon as the step that it is in has ended and is stored.
It is Prefect's own way, that of `prefect flow-run execute`, for a worker with many runs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import Abort, ObjectNotFound, Pause
from prefect.runner._control_channel import ControlSignalStatus
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.states import AwaitingRetry
from prefect.utilities.engine import propose_state

log = logging.getLogger(__name__)

GRACE = 8.0  # seconds that a run has to end; a supervisor that kills after ten is never needed
_DYING = 0.3  # seconds in which a process that was killed has ended


@dataclass
class Supervised:
    """A flow run whose process this worker has started."""

    flow_run: UUID
    context: FlowRunExecutorContext
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)  # of its supervision
    stopped: bool = False
    code: int = 0  # of its process


async def stop(run: Supervised, client: PrefectClient) -> None:
    """Have a run end in order and queued again; one that does not end is killed and loses a step.

    One that has ended already stays as it is.
    """
    status = await run.context.control_channel.signal(run.flow_run, "reschedule")
    if status is ControlSignalStatus.ALREADY_CONCLUDED:
        return
    if status is ControlSignalStatus.ACKNOWLEDGED:
        await queue_again(run.flow_run, client)
        await run.context.process_manager.kill(run.flow_run, grace_seconds=GRACE)
        run.scope.cancel()  # at once: a process that was killed is not to be reported
        return
    # It has begun nothing yet. What it may still say of its state is said before it is queued.
    await run.context.process_manager.kill(run.flow_run, force=True)
    run.scope.cancel()
    await anyio.sleep(_DYING)
    await queue_again(run.flow_run, client)


async def queue_again(flow_run: UUID, client: PrefectClient) -> None:
    """Set a run that has not ended back in its queue."""
    try:
        known = (await client.read_flow_run(flow_run)).state
        if known is None or not known.is_final() or known.is_crashed():
            await propose_state(client, AwaitingRetry(), flow_run_id=flow_run)
    except (Abort, Pause, ObjectNotFound):
        return
    except httpx.HTTPError as error:
        # The server finds out by its missing heartbeats.
        log.warning("Flow run %s could not be queued again: %s", flow_run, error)
