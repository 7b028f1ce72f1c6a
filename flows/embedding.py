"""The text side: a night's prompts are embedded by the night's own flow run, or by a child.

Which of them is decided where `hierdiff deploy` registers the deployment `embed`: in the pool of
the nights there is no child, and in any other the child loads the text side and nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from prefect import flow, get_run_logger

from flows.children import await_child, start_child
from flows.errors import EmbeddingFailed, SubtreeFailed
from flows.quiet import quiet_libraries
from flows.text_pool import DEPLOYMENT, runs_here
from tasks import stages
from tasks.compare import compare_pairs
from tasks.ledger import load_pairs
from tasks.requests import settings_of_run
from tasks.settings import Settings, read_settings
from tasks.stores import Stores, open_patiently


@flow(name="embed", flow_run_name="{name}", log_prints=False)
def embed(
    batch: int, run_id: str | None = None, name: str = "embed", compare: bool = False
) -> None:
    """Embed a night's prompts, or make anew what a run's embeddings are missing.

    Args:
        batch: Number of the night; 0 where a run is named.
        run_id: Run that the embeddings are of; `hierdiff status` lists them.
        name: Name in the UI.
        compare: Compare the pictures of the run's sample instead.
    """
    quiet_libraries()
    machine = read_settings()
    with open_patiently(machine) as stores:
        if run_id is not None and compare:
            run = uuid.UUID(run_id)
            compare_pairs(stores, settings_of_run(stores, machine, run), run)
            return
        if run_id is not None:
            stages.remake_lost(stores, machine, uuid.UUID(run_id))
            return
        made = stages.embed(stores, machine, batch, lambda done, total: None)
    get_run_logger().info("%d embeddings made, the others were cached", made)


def embed_night(
    stores: Stores, settings: Settings, batch: int, report: Callable[[int, int], None]
) -> int | None:
    """Embed a night's prompts; return how many were made, or None where a child made them."""
    if runs_here():
        return stages.embed(stores, settings, batch, report)
    _run_child(f"batch/{batch}", {"batch": batch, "name": f"embed night {batch}"})
    return None


def remake_lost(stores: Stores, settings: Settings, run: uuid.UUID) -> bool:
    """Make anew what is lost of a run's embeddings; return whether any was."""
    if runs_here():
        return stages.remake_lost(stores, settings, run)
    lost = stages.lacks_embeddings(stores, run)
    if lost:
        _run_child(f"run/{run}", {"batch": 0, "run_id": str(run), "name": f"embed {run}"})
    return lost


def compare_sample(stores: Stores, settings: Settings, run: uuid.UUID) -> None:
    """Compare the pictures of a run's sample with plain ones; no failure of it is the night's."""
    if runs_here():
        compare_pairs(stores, settings, run)
        return
    with stores.session() as session:
        new = any(each.compared_by is None for each in load_pairs(session, run).values())
    if new and settings.sample:
        asked = {"batch": 0, "run_id": str(run), "name": f"compare {run}", "compare": True}
        try:
            _run_child(f"compare/{run}", asked)
        except EmbeddingFailed as fault:
            get_run_logger().warning("The sample is not compared: %s", fault)


def run_with_embeddings(
    stores: Stores, settings: Settings, run: uuid.UUID, carry_out: Callable[[], None]
) -> None:
    """Carry a run out, once more where a subtree found embeddings that are lost.

    They are made on the text side: who denoises has no text encoder.
    """
    remake_lost(stores, settings, run)
    try:
        carry_out()
    except SubtreeFailed:
        if not remake_lost(stores, settings, run):
            raise
    else:
        if not remake_lost(stores, settings, run):
            return
    carry_out()


def _run_child(key: str, parameters: dict[str, object]) -> None:
    name = str(parameters["name"])
    started = start_child(DEPLOYMENT, f"hierdiff/embed/{key}", parameters, name)
    child = await_child(started, read_settings().patience_seconds)
    if child.state is None or not child.state.is_completed():
        state = child.state.name if child.state else "unknown"
        raise EmbeddingFailed(name=name, state=state, child=child.name)
