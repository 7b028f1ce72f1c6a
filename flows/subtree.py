"""The child flow: one shard of a plan on one device, resumable at any segment.

The work is `tasks.worker.denoise`. Prefect carries ids only: what is done is in the ledger, so a
retry of this run makes just what is missing.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from contextvars import copy_context

import httpx
import torch
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.tasks import Task

from flows.children import queue_ended
from flows.interruption import interruptible
from flows.quiet import quiet_libraries
from tasks.errors import (
    LeaseLost,
    LostEmbeddings,
    NightReplaced,
    RowsSetAside,
    UnreachableDatabase,
)
from tasks.ledger import SetAside, find_carrier, list_set_aside, open_subtrees
from tasks.requests import settings_of_run
from tasks.settings import read_settings
from tasks.states import RunState
from tasks.stores import open_patiently
from tasks.worker.attempt import Progress
from tasks.worker.denoise import denoise_shard

log = logging.getLogger(__name__)

_REPORT_EVERY = 2.0  # seconds between updates of the progress artifact
# A store that is away is waited for (`tasks.patience`); here is a transaction that was cut off.
# A worker that lost its lease was silent for too long; it waits for the process that took over, and
# makes what that one leaves.
_TRANSIENT = (UnreachableDatabase, LeaseLost, torch.OutOfMemoryError)


@flow(name="subtree", flow_run_name="{name}", log_prints=False)
def subtree(run_id: str, shard: int, name: str = "subtree") -> None:
    """Run what one shard is missing.

    Args:
        run_id: Run that the subtree is part of; `hierdiff status` lists them.
        shard: Number of the subtree, 0 for the trunk.
        name: Name in the UI.
    """
    quiet_libraries()
    try:
        denoise(run_id, shard, name)
    except LostEmbeddings:
        resume_night(uuid.UUID(run_id), mended=False)
        raise
    resume_night(uuid.UUID(run_id))


def resume_night(run: uuid.UUID, *, mended: bool = True) -> None:
    """Have the night's own flow run go on, where it had ended and has something to do.

    That is to close the night where nothing is missing any more, so that a retry of the last failed
    subtree alone makes it whole; or to make embeddings that are lost, which this side cannot.
    """
    with open_patiently(read_settings()) as stores, stores.session() as session:
        state, carrier = find_carrier(session, run)
        missing = open_subtrees(session, run)
    if state is RunState.FAILED and carrier is not None and not (mended and missing):
        queue_ended(uuid.UUID(carrier))


def is_transient(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Return whether an automatic retry may help: for a cut line, a full device or a lost lease."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, _TRANSIENT)


@task(
    name="denoise",
    task_run_name="denoise {name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=3,
    retry_delay_seconds=[5, 20, 60],
    retry_condition_fn=is_transient,
)
def denoise(run_id: str, shard: int, name: str) -> None:
    """Denoise the shard's segments, store each split, upload each picture."""
    machine = read_settings()
    me = str(flow_run.id)
    report = _Reporter(name)
    with open_patiently(machine) as stores:
        run = uuid.UUID(run_id)
        with stores.session() as session:
            if find_carrier(session, run)[0] is RunState.REPLACED:
                raise NightReplaced(run=run_id)
        settings = settings_of_run(stores, machine, run)

        def work(stop: threading.Event) -> Progress:
            here = (stores, settings, run, shard, me)
            return denoise_shard(*here, flow_run_id=me, report=report, stop=stop)

        try:
            done = interruptible(work)
        except RowsSetAside:
            with stores.session() as session:
                aside = [each for each in list_set_aside(session, run) if each.shard == shard]
            show_set_aside(name, aside)
            raise
    report.finish(done)
    get_run_logger().info("%s: %d evaluations, %d images", name, done.evaluations, done.images)


def show_set_aside(name: str, rows: Sequence[SetAside]) -> None:
    """List the rows that failed by themselves on the page of the subtree."""
    create_table_artifact(
        [
            {
                "row": each.row,
                "reference": each.reference,
                "attempts": each.failures,
                "reason": each.reason,
            }
            for each in rows
        ],
        description=f"rows of {name} whose pictures could not be made; all others are there",
    )


class _Reporter:
    """Shows progress as an artifact, at most once every few seconds, beside the work.

    A server that is slow or away holds no step up.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.artifact: uuid.UUID | None = None
        self.shown_at = 0.0
        self.showing: threading.Thread | None = None

    def __call__(self, progress: Progress) -> None:
        busy = self.showing is not None and self.showing.is_alive()
        if busy or time.monotonic() - self.shown_at < _REPORT_EVERY:
            return
        self.shown_at = time.monotonic()
        arguments = (self._try_to_show, progress)
        self.showing = threading.Thread(target=copy_context().run, args=arguments, daemon=True)
        self.showing.start()

    def finish(self, progress: Progress) -> None:
        """Show the end."""
        if self.showing is not None:
            self.showing.join()
        self._show(progress)

    def _try_to_show(self, progress: Progress) -> None:
        try:
            self._show(progress)
        except httpx.HTTPError as error:  # nobody sees it
            log.warning("Prefect does not take the progress: %s", error)

    def _show(self, progress: Progress) -> None:
        share = 100.0 * progress.evaluations / progress.planned if progress.planned else 100.0
        description = (
            f"{self.name}: {progress.evaluations:,} of {progress.planned:,} evaluations, "
            f"{progress.images:,} images"
        )
        if self.artifact is None:
            made = create_progress_artifact(progress=share, description=description)
            self.artifact = made if isinstance(made, uuid.UUID) else None
        else:
            update_progress_artifact(self.artifact, progress=share, description=description)
