"""Names of nights that are only scheduled: Prefect gives each a random one until it starts."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import ValidationError

from flows.names import night_name
from tasks.business_date import date_in_zone
from tasks.night_settings import NightSettings

_MOST = 200  # nights that are named at a time, the next ones first
_SCHEDULED = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    tags=FlowRunFilterTags(all_=["auto-scheduled"]),
)
_NIGHTLY = DeploymentFilter(name=DeploymentFilterName(any_=["nightly"]))


async def name_upcoming(client: PrefectClient) -> None:
    """Name the nights that a schedule has set as they will be called when they start."""
    scheduled = await client.read_flow_runs(
        flow_run_filter=_SCHEDULED,
        deployment_filter=_NIGHTLY,
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=_MOST,
    )
    for each in scheduled:
        name = _name(each)
        if name and name != each.name:
            await client.update_flow_run(each.id, name=name)


def _name(flow_run: FlowRun) -> str:
    """Return the name of a scheduled night; empty where its parameters make none."""
    try:
        settings = NightSettings.model_validate(flow_run.parameters.get("settings") or {})
        day = date_in_zone(settings.timezone, flow_run.expected_start_time)
        return night_name(str(flow_run.parameters["catalogue"]), day, settings.timezone)
    except (KeyError, ValidationError):
        return ""
