"""The worker: Prefect's process worker, which waits for a run that it has not let go of yet.

Usage: python -m flows.worker POOL NAME LIMIT

A run that is retried within seconds of its end comes back to a worker that still counts it; Prefect
3.8's worker then stops altogether, and nobody runs the night. This one takes the run at its next
poll. It starts flows by its fork server, which has imported all they need, on the Python that it
runs on itself, whatever is on the path, and starts one no more whose processes die again and again.
It names the nights that are only scheduled. Everything else is Prefect's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS
from prefect.states import Failed
from prefect.utilities.processutils import command_to_string, setup_signal_handlers_worker
from prefect.workers.process import ProcessWorker, ProcessWorkerResult

from flows.upcoming import name_upcoming
from flows.warm.fork_server import ForkServer
from tasks.errors import PoisonedStart
from tasks.starts import note_end, note_start

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse
    from prefect.workers.process import ProcessJobConfiguration


_AS_DEPLOYED = "python -m prefect.engine"  # as prefect.yaml has it


class PatientWorker(ProcessWorker):
    """A process worker that leaves a run in its queue while it still counts its last attempt."""

    fork_server: ForkServer  # of the process, set before it is started

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "patient-process"  # it serves pools of type `process`, whose key is taken

    async def _submit_scheduled_flow_runs(
        self, flow_run_response: list[WorkerFlowRunResponse]
    ) -> list[FlowRun]:
        counted = set(self._limiter.statistics().borrowers) if self._limiter else set()
        free = [each for each in flow_run_response if each.flow_run.id not in counted]
        return await super()._submit_scheduled_flow_runs(free)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: Any = None,
    ) -> ProcessWorkerResult:
        if configuration.command == _AS_DEPLOYED:
            command = self.fork_server.command(configuration.env)
            configuration.command = command_to_string(list(command))
        try:
            await anyio.to_thread.run_sync(note_start, str(flow_run.id))
        except PoisonedStart as poisoned:
            await self.client.set_flow_run_state(flow_run.id, Failed(message=str(poisoned)))
            if task_status is not None:
                task_status.started(0)
            return ProcessWorkerResult(status_code=0, identifier="")
        result = await super().run(flow_run, configuration, task_status)
        with suppress(httpx.HTTPError, ObjectNotFound):
            ended = (await self.client.read_flow_run(flow_run.id)).state
            if ended is not None and ended.is_final() and not ended.is_crashed():
                await anyio.to_thread.run_sync(note_end, str(flow_run.id))
        return result

    async def sync_with_backend(self) -> None:
        await super().sync_with_backend()
        if self._work_pool_name == "cpu":
            with suppress(httpx.HTTPError, ObjectNotFound):
                await name_upcoming(self.client)


async def serve(pool: str, name: str, limit: int) -> None:
    """Serve a pool until the process is signalled to stop."""
    worker: Any = PatientWorker(
        name=name,
        work_pool_name=pool,
        limit=limit,
        heartbeat_interval_seconds=int(PREFECT_WORKER_HEARTBEAT_SECONDS.value()),
        create_pool_if_not_found=False,
    )
    worker.fork_server = ForkServer()
    worker.fork_server.start()  # imports while the worker waits for its first run
    setup_signal_handlers_worker(os.getpid(), "the process worker", print)
    with tempfile.TemporaryDirectory(prefix="hierdiff-worker-") as own:
        # Prefect makes `runner_storage` in there; in /tmp it may be another user's.
        tempfile.tempdir = own
        try:
            await worker.start(printer=print)
        finally:
            tempfile.tempdir = None
            worker.fork_server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
