"""The worker goes on with the next run at once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import anyio
import httpx
from prefect.client.schemas.objects import FlowRun

from flows.worker import PatientWorker


class Looking(PatientWorker):
    """A worker whose server is away when it looks for runs."""

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "looking-process"

    def __init__(self) -> None:
        super().__init__(work_pool_name="gpu", limit=1)
        self._limiter = anyio.CapacityLimiter(1)
        self.looks: list[float] = []  # runs that it counted at each

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """See BaseWorker."""
        self.looks.append(self.limiter.borrowed_tokens)
        raise httpx.ConnectError("away")


def test_a_worker_looks_for_a_run_when_one_has_ended_and_its_slot_is_free() -> None:
    async def carry_out_one() -> Looking:
        worker, run = Looking(), FlowRun(flow_id=uuid4())
        worker.limiter.acquire_on_behalf_of_nowait(run.id)
        await worker._submit_run_and_capture_errors(run)  # which fails: it has no pool
        return worker

    assert asyncio.run(carry_out_one()).looks == [0]
