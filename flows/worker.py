"""The worker: Prefect's process worker, which waits for a run that it has not let go of yet.

Usage: python -m flows.worker POOL NAME LIMIT

A run that is retried within seconds of its end comes back to a worker that still counts it; Prefect
3.8's worker then stops altogether, and nobody runs the night. This one takes the run at its next
poll. It starts flows by its fork server, which has imported all they need, on the Python that it
runs on itself, whatever is on the path, and starts one no more whose processes die again and again.
It looks for the next run as soon as one has ended, and names the nights that are only scheduled. On
SIGTERM it has its runs stop and be queued again (`leaving`), and ends with code 0. Everything else
is Prefect's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import httpx
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_flow_run
from prefect.runner._flow_run_executor import FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS
from prefect.states import Failed
from prefect.utilities.processutils import command_to_string, setup_signal_handlers_worker
from prefect.workers.process import ProcessWorker, ProcessWorkerResult

from flows.leaving import GRACE, Supervised, queue_again, stop
from flows.upcoming import name_upcoming
from flows.warm.fork_server import ForkServer, Needed
from tasks.errors import PoisonedStart
from tasks.starts import note_end, note_start, weights_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse
    from prefect.workers.base import BaseWorkerResult
    from prefect.workers.process import ProcessJobConfiguration


_HOLD = "flows.warm.weights:hold_weights"
_AS_DEPLOYED = "python -m prefect.engine"  # as prefect.yaml has it


class PatientWorker(ProcessWorker):
    """A process worker that leaves a run in its queue while it still counts its last attempt."""

    fork_server: ForkServer  # of the process, set before it is started

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.leaving = anyio.Event()
        self.supervised: dict[UUID, Supervised] = {}

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "patient-process"  # it serves pools of type `process`, whose key is taken

    async def _submit_scheduled_flow_runs(
        self, flow_run_response: list[WorkerFlowRunResponse]
    ) -> list[FlowRun]:
        counted = set(self._limiter.statistics().borrowers) if self._limiter else set()
        free = [each for each in flow_run_response if each.flow_run.id not in counted]
        free = [] if self.leaving.is_set() else free
        return await super()._submit_scheduled_flow_runs(free)

    async def _submit_run_and_capture_errors(
        self, flow_run: FlowRun, task_status: Any = None
    ) -> BaseWorkerResult | Exception:
        result = await super()._submit_run_and_capture_errors(flow_run, task_status)
        with suppress(httpx.HTTPError):  # a slot is free: the next run need not wait for its poll
            await self.get_and_submit_flow_runs()
        return result

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: Any = anyio.TASK_STATUS_IGNORED,
    ) -> ProcessWorkerResult:
        if configuration.command == _AS_DEPLOYED:
            command = await anyio.to_thread.run_sync(self._command, flow_run, configuration)
            configuration.command = command_to_string(list(command))
        try:
            await anyio.to_thread.run_sync(note_start, str(flow_run.id))
        except PoisonedStart as poisoned:
            await self.client.set_flow_run_state(flow_run.id, Failed(message=str(poisoned)))
            task_status.started(0)
            return ProcessWorkerResult(status_code=0, identifier="")
        if self.leaving.is_set():
            await queue_again(flow_run.id, self.client)
            task_status.started(0)
            result = ProcessWorkerResult(status_code=0, identifier="")
        else:
            result = await self._supervise(flow_run, configuration, task_status)
        if self.leaving.is_set() or await self._has_ended(flow_run.id):
            await anyio.to_thread.run_sync(note_end, str(flow_run.id))
        return result

    def _command(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration
    ) -> tuple[str, ...]:
        """Return the command that starts a run, a subtree's with its weights in memory."""
        asked = flow_run.parameters
        weights = weights_of(asked["run_id"]) if {"run_id", "shard"} <= asked.keys() else None
        wanted = None if weights is None else Needed(_HOLD, weights)
        return self.fork_server.command(configuration.env, wanted)

    async def _supervise(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: Any
    ) -> ProcessWorkerResult:
        """Start a run's process and wait for its end, as Prefect's process worker does."""
        with tempfile.TemporaryDirectory() as folder:
            async with FlowRunExecutorContext() as context:
                starter = EngineCommandStarter(
                    command=configuration.command,
                    cwd=configuration.working_dir or folder,
                    env=configuration.env,
                    stream_output=configuration.stream_output,
                    control_channel=context.control_channel,
                )
                executor = context.create_executor(
                    flow_run,
                    starter,
                    resolve_flow=load_flow_from_flow_run,
                    propose_submitting=False,
                )
                run = self.supervised[flow_run.id] = Supervised(flow_run.id, context)
                try:
                    with run.scope:
                        await _carry_out(executor, run, task_status)
                finally:
                    del self.supervised[flow_run.id]
        return ProcessWorkerResult(status_code=run.code, identifier=str(flow_run.id))

    async def _has_ended(self, flow_run: UUID) -> bool:
        """Return whether a run has reported an end of its own."""
        with suppress(httpx.HTTPError, ObjectNotFound):
            state = (await self.client.read_flow_run(flow_run)).state
            return state is not None and state.is_final() and not state.is_crashed()
        return False

    async def leave(self) -> None:
        """Take no more runs, and stop those that are under way, each as soon as it has begun."""
        self.leaving.set()
        async with anyio.create_task_group() as group:
            while self._limiter is not None and self._limiter.borrowed_tokens:
                for run in list(self.supervised.values()):
                    if not run.stopped:
                        run.stopped = True
                        group.start_soon(stop, run, self.client)
                await anyio.sleep(0.05)

    async def sync_with_backend(self) -> None:
        await super().sync_with_backend()
        if self._work_pool_name == "cpu":
            with suppress(httpx.HTTPError, ObjectNotFound):
                await name_upcoming(self.client)


async def _carry_out(executor: FlowRunExecutor, run: Supervised, task_status: Any) -> None:
    async def execute(*, task_status: Any) -> None:
        ended = await executor.submit(task_status=task_status)
        run.code = 0 if ended is None or ended.status_code is None else ended.status_code

    async with anyio.create_task_group() as group:
        handle = await group.start(execute)
        task_status.started(handle.pid)


async def _leave_on_sigterm(worker: PatientWorker, all_of_it: anyio.CancelScope) -> None:
    """Wait for the signal, leave, and cancel what the worker is made of."""
    asked = anyio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    await asked.wait()
    with anyio.move_on_after(GRACE + 1.0):
        await worker.leave()
    all_of_it.cancel()


async def serve(pool: str, name: str, limit: int) -> None:
    """Serve a pool until the process is signalled to stop."""
    worker = PatientWorker(
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
            async with anyio.create_task_group() as group:
                group.start_soon(_leave_on_sigterm, worker, group.cancel_scope)
                await worker.start(printer=print)
        finally:
            tempfile.tempdir = None
            worker.fork_server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    # Threads of Prefect's would now ask the server for seconds whether it has all of their lines.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
