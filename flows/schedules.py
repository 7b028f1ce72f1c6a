"""Schedules: which catalogue has a night at which hour, with the settings that it was given.

A schedule is kept by the Prefect server with the deployment `nightly`; each catalogue has at most
one that is ours.
"""

from __future__ import annotations

import copy
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from flows.names import artifact_key
from flows.starts import DEPLOYMENT, read_deployment, recorded
from hierdiff_core.errors import InvalidSetting
from tasks.night_settings import NightSettings


def schedule_nights(url: str, catalogue: str, cron: str, settings: NightSettings) -> None:
    """Have a catalogue's night made at the times of `cron` in the settings' zone.

    An earlier schedule of the catalogue is replaced. Raises NotDeployed, InvalidSetting.
    """
    try:
        when = CronSchedule(cron=cron, timezone=settings.timezone)
    except ValidationError as error:
        hint = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidSetting(setting="--cron", value=cron, hint=hint) from None
    made = DeploymentScheduleCreate(
        schedule=when,
        active=True,
        slug=_slug(catalogue),
        parameters={"catalogue": catalogue, "settings": recorded(settings)},
    )
    with get_client(sync_client=True) as client:
        deployment = read_deployment(client, url)
        _remove(client, deployment, _slug(catalogue))
        client.create_deployment_schedules(deployment.id, [made])


def unschedule(url: str, catalogue: str) -> bool:
    """Remove a catalogue's schedule; return whether there was one. Raises NotDeployed."""
    with get_client(sync_client=True) as client:
        return _remove(client, read_deployment(client, url), _slug(catalogue))


def set_form_defaults(client: SyncPrefectClient, settings: NightSettings) -> None:
    """Have the form of a new night start from these settings, and take what is left empty.

    Schedules that name no catalogue are removed: an earlier version made one, which starts nothing.
    """
    deployment = client.read_deployment_by_name(DEPLOYMENT)
    parameters = {**deployment.parameters, "settings": recorded(settings)}
    # A default of null is sent where nothing is filled in, and then refused by the server.
    schema = copy.deepcopy(deployment.parameter_openapi_schema or {})
    schema["properties"]["settings"]["default"] = recorded(settings)
    del schema["properties"]["business_date"]["default"]
    changed = DeploymentUpdate(parameters=parameters, parameter_openapi_schema=schema)
    client.update_deployment(deployment.id, changed)
    for schedule in deployment.schedules:
        if not (schedule.parameters or {}).get("catalogue") and "catalogue" not in parameters:
            client.delete_deployment_schedule(deployment.id, schedule.id)


def _remove(client: SyncPrefectClient, deployment: DeploymentResponse, slug: str) -> bool:
    known: list[UUID] = [each.id for each in deployment.schedules if each.slug == slug]
    for schedule in known:
        client.delete_deployment_schedule(deployment.id, schedule)
    return bool(known)


def _slug(catalogue: str) -> str:
    return artifact_key("night", catalogue)
