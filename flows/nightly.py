"""The parent flow: one night of one catalogue, from rows to report.

Prefect carries ids only; what a stage does is in `tasks`, what is done is in the ledger. Any stage
may be run again: a retry of this run makes just what is missing.
"""

from __future__ import annotations

import uuid
from datetime import date
from pathlib import Path
from typing import Any

from prefect import Flow, flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from flows.children import await_child, cancel_children, child_name, ensure_child
from flows.errors import NightIncomplete, SubtreeFailed
from flows.quiet import quiet_libraries
from tasks import stages
from tasks.catalogue_settings import CatalogueSettings, settings_for
from tasks.errors import NightTaken
from tasks.lease import leased_night
from tasks.ledger import (
    Night,
    find_night_run,
    note_flow_run,
    open_subtrees,
    set_run_state,
)
from tasks.report.page import subtree_table, summary_markdown
from tasks.report.publish import publish, report_url
from tasks.settings import Settings, read_settings
from tasks.states import RunState, Stage
from tasks.stopwatch import Stopwatch
from tasks.stores import Stores, open_stores

_AT_ONCE = 16  # children that are awaited at the same time; the pool decides how many run


@flow(
    name="nightly",
    flow_run_name="{catalogue} {business_date}",
    task_runner=ThreadPoolTaskRunner(max_workers=_AT_ONCE),  # type: ignore[arg-type]
)
def nightly(
    catalogue: str = "catalogue",
    business_date: date | None = None,
    query: str | None = None,
    file: Path | None = None,
) -> State[None] | None:
    """Make one night's pictures; `business_date` is today unless given.

    Rows come from `query` on HIERDIFF_SOURCE_URL or from `file`, or from what `hierdiff ingest`
    stored for this night before. A second start of a night gives way to the first: it ends as
    Cancelled and names the flow run that has the night.
    """
    quiet_libraries()
    settings = read_settings()
    day = business_date or night_of_schedule()
    seconds = settings.lease_seconds
    try:
        with (
            open_stores(settings) as stores,
            leased_night(stores, catalogue, day, owner(), seconds) as claimed,
        ):
            run = plan_everything(stores, settings, claimed, stages.Source(query, file))
            run_everything(stores, run)
            publish_night(stores, settings, run)
    except NightTaken as taken:
        return Cancelled(message=str(taken))
    return None


def plan_everything(
    stores: Stores, settings: Settings, claimed: Night, source: stages.Source
) -> uuid.UUID:
    """Return the night's run: the one it has, or one that is planned now."""
    if claimed.run is not None:
        get_run_logger().info("Run %s continues from where it stopped", claimed.run)
        return claimed.run
    watch = Stopwatch()
    tonight = settings_for(stores, settings, claimed.catalogue, claimed.batch)
    if tonight.warning:
        get_run_logger().warning("%s", tonight.warning)
    with watch.timed(Stage.READ):
        read_prompts(stores, tonight.settings, claimed, source)
    with watch.timed(Stage.EMBED):
        embed_prompts(stores, settings, claimed.batch)
    with watch.timed(Stage.PLAN):
        run = store_plan(stores, settings, claimed.batch, tonight)
    stages.record_stages(stores, settings, run, watch.seconds)
    return run


def run_everything(stores: Stores, run: uuid.UUID) -> None:
    """Run the trunk, then all other subtrees that are open; the report lists what failed."""
    with stores.session() as session:
        set_run_state(session, run, RunState.RUNNING)
        note_flow_run(session, run, owner())
        waiting = open_subtrees(session, run)
    if 0 in waiting:
        run_subtree(str(run), 0, child_name(0))
    rest = [run_subtree.submit(str(run), shard, child_name(shard)) for shard in waiting if shard]
    wait(rest)


def night_of_schedule() -> date:
    """Return the day that a scheduled run was meant for, even if it starts late."""
    planned = flow_run.scheduled_start_time
    return planned.date() if planned is not None else date.today()


def owner() -> str:
    """Return the name under which the night is leased: this flow run's id, on every attempt."""
    return str(flow_run.id)


@nightly.on_cancellation
def cancel_subtrees(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the children too: without this they would go on alone."""
    with open_stores(read_settings()) as stores, stores.session() as session:
        mine = find_night_run(session, str(flow_run.id))
        waiting = open_subtrees(session, mine) if mine else ()
    if mine:
        cancel_children(str(mine), waiting)


@task(name="read prompts", task_run_name="read prompts", cache_policy=NO_CACHE)
def read_prompts(stores: Stores, settings: Settings, claimed: Night, source: stages.Source) -> None:
    """Store the night's rows; bad ones are rejected, each with its reason."""
    good, bad = stages.ingest(stores, settings, claimed, source)
    get_run_logger().info("%d prompts, %d rows rejected", good, bad)


@task(name="embed prompts", task_run_name="embed prompts", cache_policy=NO_CACHE)
def embed_prompts(stores: Stores, settings: Settings, batch: int) -> None:
    """Embed the prompts that are not in the cache."""
    bar = create_progress_artifact(progress=0.0, description="prompts embedded")

    def report(done: int, total: int) -> None:
        if isinstance(bar, uuid.UUID):
            update_progress_artifact(bar, progress=100.0 * done / max(total, 1))

    made = stages.embed(stores, settings, batch, report)
    report(1, 1)
    get_run_logger().info("%d embeddings made, the others were cached", made)


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE)
def store_plan(
    stores: Stores, settings: Settings, batch: int, chosen: CatalogueSettings
) -> uuid.UUID:
    """Cluster the prompts and store trees, segments and shards."""
    run = stages.plan(stores, settings, batch, chosen)
    get_run_logger().info("Planned as run %s%s", run, chosen.tuned and f", {chosen.tuned}")
    return run


@task(name="run subtree", task_run_name="run {name}", cache_policy=NO_CACHE)
def run_subtree(run_id: str, shard: int, name: str) -> None:
    """Have a worker of the GPU pool run one shard to its end; raises SubtreeFailed."""
    child = await_child(ensure_child(run_id, shard))
    if child.state is None or not child.state.is_completed():
        state = child.state.name if child.state else "unknown"
        raise SubtreeFailed(name=name, state=state, child=child.name)


@task(name="publish the report", task_run_name="publish the report", cache_policy=NO_CACHE)
def publish_night(stores: Stores, settings: Settings, run: uuid.UUID) -> None:
    """Check the pictures, write manifest and report, and link the report here."""
    published = publish(stores, settings, run)
    link = report_url(stores, settings, published.report)
    create_markdown_artifact(
        summary_markdown(published.data, link), key="night", description="the night's result"
    )
    create_table_artifact(
        subtree_table(published.data), key="subtrees", description="the night's subtrees"
    )
    create_link_artifact(link, link_text="gallery and plan", key="report")
    if not published.complete:
        raise NightIncomplete(run=run, missing=published.missing)
