"""The parent flow: one night of one catalogue, from rows to report.

Prefect carries ids only; what a stage does is in `tasks`, what is done is in the ledger. Any stage
may be run again: a retry of this run makes just what is missing.
"""

from __future__ import annotations

import uuid
from datetime import date
from functools import partial
from typing import Annotated, Any

from prefect import Flow, flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field, WithJsonSchema

from flows.agreement import agree
from flows.artifacts import show_plan, show_result
from flows.children import cancel_children
from flows.embedding import compare_sample, embed_night, run_with_embeddings
from flows.errors import NightIncomplete
from flows.messages import emit_rejected
from flows.names import night_name
from flows.quiet import quiet_libraries
from flows.shards import run_open
from tasks import stages
from tasks.business_date import date_in_zone
from tasks.catalogue_settings import CatalogueSettings, settings_for
from tasks.errors import NightLost, NightTaken
from tasks.handover.deliver import check_told, hand_over, is_latest
from tasks.lease import leased_night
from tasks.ledger import (
    Night,
    end_run,
    find_night_run,
    note_flow_run,
    open_subtrees,
    replace_night,
    set_run_state,
)
from tasks.night_settings import NightSettings
from tasks.rejected import by_kind
from tasks.remake import Remake, read_remake
from tasks.report.check import Checked, check_night
from tasks.report.publish import publish, report_url
from tasks.settings import Settings, overruled, read_settings
from tasks.states import RunState, Stage
from tasks.stopwatch import Stopwatch
from tasks.stores import Stores, open_patiently

_DEFAULTS = NightSettings()
# A form is to offer a date, not a choice between a date and null.
_Day = Annotated[date | None, WithJsonSchema({"type": "string", "format": "date"})]
_Seed = Annotated[int | None, Field(ge=0, lt=2**63), WithJsonSchema({"type": "integer"})]
_AT_ONCE = 16  # children that are awaited at the same time; the pool decides how many run


def name_night() -> str:
    """Return the name of this flow run."""
    asked = flow_run.parameters
    settings = NightSettings.model_validate(asked.get("settings") or {})
    day = asked.get("business_date") or night_of_schedule(settings.timezone)
    return night_name(asked["catalogue"], day, settings.timezone)


@flow(
    name="nightly",
    flow_run_name=name_night,
    task_runner=ThreadPoolTaskRunner(max_workers=_AT_ONCE),  # type: ignore[arg-type]
)
def nightly(
    catalogue: str,
    business_date: _Day = None,
    settings: NightSettings = _DEFAULTS,
    replace: bool = False,
    remake: str = "",
    remake_seed: _Seed = None,
) -> State[None] | None:
    """Make one night's pictures.

    Rows come from the settings' source, or from what `hierdiff run` or `hierdiff ingest` stored for
    this night before. A second start of a night gives way to the first: while that runs it ends as
    Cancelled and names the flow run that has the night; once that is done it is Completed where it
    asks for the same, and Failed where its settings or its rows are others.

    Args:
        catalogue: Name of the set of pictures, such as `shoes`; one night for each name and date.
        business_date: Date that the night is for; empty: today in the settings' time zone.
        settings: What to draw, from which rows, within which budget.
        replace: Make the night anew where it exists; pictures that still fit are kept.
        remake: Pictures to make although they exist: `all`, or references such as `A-17, B-2#3`; or
            others at once in place of those that `hierdiff review` rejected: `rejected`.
            The night of this date is replaced, and its rows are taken again where the settings
            name no source.
        remake_seed: With `remake`: make other pictures by this seed, from the steps that they
            share; later nights keep them. Empty: make them anew by tonight's settings.
    """
    quiet_libraries()
    machine = read_settings()
    for name in overruled(settings):
        get_run_logger().warning("%s of this worker is not used; the night has its own", name)
    tonight, asked = machine.with_night(settings), read_remake(remake, remake_seed)
    day = business_date or night_of_schedule(settings.timezone)
    try:
        with open_patiently(machine) as stores:
            agree(stores)
            if replace or asked.names:
                replace_earlier(stores, catalogue, day)
            with leased_night(stores, catalogue, day, owner(), machine.lease_seconds) as held:
                claimed, hold = held
                if is_done_already(stores, tonight, claimed):
                    return Completed(message=f"The night was done already, as run {claimed.run}.")
                run = plan_everything(stores, tonight, claimed, asked)
                hold.check()
                run_everything(stores, tonight, run, night_name(catalogue, day))
                hold.check()
                checked = check_night(stores, run)
                if checked.damaged:  # made again now, from the last good split above
                    run_everything(stores, tonight, run, night_name(catalogue, day))
                    hold.check()
                compare(stores, tonight, run)
                hold.check()
                publish_night(stores, tonight, run, checked)
    except NightTaken as taken:
        return Cancelled(message=str(taken))
    except NightLost as lost:
        # Another process of this flow run has the night: wait for it, and make what it leaves.
        get_run_logger().warning("%s", lost)
        return nightly.fn(catalogue, day, settings, replace, remake, remake_seed)
    return None


def replace_earlier(stores: Stores, catalogue: str, day: date) -> None:
    """Put an earlier night of this date aside, unless it is this flow run's own."""
    with stores.session() as session:
        if replace_night(session, catalogue, day, owner()):
            get_run_logger().info("The earlier night of this date is replaced")


def is_done_already(stores: Stores, settings: Settings, claimed: Night) -> bool:
    """Return whether the night is complete; raises NightDiffers where it was asked otherwise.

    A retry of the flow run that has the night asks for nothing new.
    """
    done = claimed.run_state is RunState.COMPLETED
    if done or claimed.flow_run_id != owner():
        stages.check_request(stores, settings, claimed)
    return done


def plan_everything(
    stores: Stores, settings: Settings, claimed: Night, remake: Remake
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
        read_prompts(stores, tonight.settings, claimed, settings.night, remake)
    with watch.timed(Stage.EMBED):
        embed_prompts(stores, settings, claimed.batch)
    with watch.timed(Stage.PLAN):
        run = store_plan(stores, settings, claimed.batch, tonight)
    stages.record_stages(stores, settings, run, watch.seconds)
    return run


def run_everything(stores: Stores, settings: Settings, run: uuid.UUID, night: str) -> None:
    """Run all open subtrees, once more where one of them found embeddings that are lost."""
    with stores.session() as session:
        set_run_state(session, run, RunState.RUNNING)
        note_flow_run(session, run, owner())
    run_with_embeddings(stores, settings, run, partial(run_open, stores, run, night))


def night_of_schedule(zone: str) -> date:
    """Return the day that a scheduled run was meant for in a zone, even if it starts late."""
    return date_in_zone(zone, flow_run.scheduled_start_time)


def owner() -> str:
    """Return the name under which the night is leased: this flow run's id, on every attempt."""
    return str(flow_run.id)


@nightly.on_failure
@nightly.on_crashed
def note_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Have the ledger say what Prefect says; a night that was closed already stays as it is."""
    with open_patiently(read_settings()) as stores, stores.session() as session:
        end_run(session, str(flow_run.id), RunState.FAILED)


@nightly.on_cancellation
def cancel_subtrees(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the children too: without this they would go on alone."""
    with open_patiently(read_settings()) as stores, stores.session() as session:
        mine = find_night_run(session, str(flow_run.id))
        waiting = open_subtrees(session, mine) if mine else ()
        end_run(session, str(flow_run.id), RunState.CANCELLED)
    if mine:
        cancel_children(str(mine), waiting)


@task(name="read prompts", task_run_name="read prompts", cache_policy=NO_CACHE)
def read_prompts(
    stores: Stores, settings: Settings, claimed: Night, asked: NightSettings, remake: Remake
) -> None:
    """Store the night's rows; bad ones are rejected, each with its reason."""
    log = get_run_logger()
    rows = stages.ingest(stores, settings, claimed, stages.Source(), asked, remake)
    log.info("%d prompts, %d rows rejected", len(rows.prompts), len(rows.rejected))
    for line in (*(kind.line() for kind in by_kind(rows.rejected)), *rows.notes):
        log.warning("%s", line)
    if len(rows.rejected) > settings.notify_rejected:
        emit_rejected(owner(), len(rows.rejected))


@task(name="embed prompts", task_run_name="embed prompts", cache_policy=NO_CACHE)
def embed_prompts(stores: Stores, settings: Settings, batch: int) -> None:
    """Embed the prompts that are not in the cache."""
    bar = create_progress_artifact(progress=0.0, description="prompts embedded")

    def report(done: int, total: int) -> None:
        if isinstance(bar, uuid.UUID):
            update_progress_artifact(bar, progress=100.0 * done / max(total, 1))

    made = embed_night(stores, settings, batch, report)
    report(1, 1)
    if made is not None:
        get_run_logger().info("%d embeddings made, the others were cached", made)


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE)
def store_plan(
    stores: Stores, settings: Settings, batch: int, chosen: CatalogueSettings
) -> uuid.UUID:
    """Cluster the prompts and store trees, segments and shards."""
    run = stages.plan(stores, settings, batch, chosen)
    with stores.session() as session:
        note_flow_run(session, run, owner())
    get_run_logger().info("Planned as run %s%s", run, chosen.tuned and f", {chosen.tuned}")
    show_plan(stores, settings, run)
    return run


@task(name="compare the sample", task_run_name="compare the sample", cache_policy=NO_CACHE)
def compare(stores: Stores, settings: Settings, run: uuid.UUID) -> None:
    """Compare pictures of the sample with those that were made without sharing."""
    compare_sample(stores, settings, run)


@task(name="publish the report", task_run_name="publish the report", cache_policy=NO_CACHE)
def publish_night(stores: Stores, settings: Settings, run: uuid.UUID, checked: Checked) -> None:
    """Check the pictures, write manifest and report, link it here, and hand the pictures over."""
    published = publish(stores, settings, run, checked)
    show_result(published.data, report_url(stores, settings, published.report))
    if settings.hands_over and is_latest(stores, run):
        done = hand_over(stores, settings, run)
        get_run_logger().info("%d of %d pictures are handed over", done.wanted, done.pictures)
        check_told(done)
    if not published.complete:
        rows = [f"row {each.row} ({each.reference})" for each in published.data.set_aside]
        aside = f", {len(rows)} of them set aside: {', '.join(rows[:8])}" if rows else ""
        more = ", ..." if len(rows) > 8 else ""
        raise NightIncomplete(run=run, missing=published.missing, aside=aside + more)
