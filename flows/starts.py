"""Starting nights on a Prefect server, as the command line does.

One flow run carries a night from its first start to its last retry, named by its idempotency key; a
run that the schedule started is found by the id that the ledger noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from flows.children import find_child, queue_again
from flows.errors import NotDeployed
from flows.names import night_name
from tasks.errors import NightDiffers
from tasks.night_settings import NightSettings

DEPLOYMENT = "nightly/nightly"


@dataclass(frozen=True)
class NightStart:
    """A night that is asked for."""

    catalogue: str
    day: date
    settings: NightSettings
    replaced: int = 0  # nights of this date before it
    replace: bool = False  # have the worker put an earlier night of this date aside

    @property
    def key(self) -> str:
        """The idempotency key: one flow run for a catalogue, a date and each replacement."""
        replaced = self.replaced + self.replace
        plain = f"hierdiff/{self.catalogue}/{self.day.isoformat()}"
        return f"{plain}/{replaced}" if replaced else plain

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the flow run."""
        return {
            "catalogue": self.catalogue,
            "business_date": self.day.isoformat(),
            "settings": recorded(self.settings),
            "replace": self.replace,
        }


def start_night(url: str, start: NightStart) -> UUID:
    """Start a night, or attach to it: its flow run is queued again where it has ended.

    Returns the flow run. Raises NotDeployed, and NightDiffers where it is being made with other
    settings.
    """
    with get_client(sync_client=True) as client:
        known = find_child(client, start.key)
        if known is None:
            return _create(client, url, start)
        if known.state is not None and known.state.is_final():
            client.update_flow_run(known.id, parameters=start.parameters)
            queue_again(client, known.id)
        else:
            _refuse_other_settings(known, start)
        return known.id


def start_retry(url: str, flow_run_id: str | None, start: NightStart) -> UUID:
    """Queue a night's flow run again, as the UI's Retry does; start one where there is none.

    Returns the flow run. Raises NotDeployed.
    """
    with get_client(sync_client=True) as client:
        if flow_run_id is not None:
            try:
                known = client.read_flow_run(UUID(flow_run_id))
            except ObjectNotFound:
                known = None
            if known is not None:
                if known.state is None or known.state.is_final():
                    queue_again(client, known.id)
                return known.id
        return _create(client, url, start)


def _create(client: SyncPrefectClient, url: str, start: NightStart) -> UUID:
    deployment = read_deployment(client, url)
    started = client.create_flow_run_from_deployment(
        deployment.id,
        parameters=start.parameters,
        idempotency_key=start.key,
        name=night_name(start.catalogue, start.day, start.settings.timezone),
    )
    return started.id


def read_deployment(client: SyncPrefectClient, url: str) -> DeploymentResponse:
    """Return the deployment of nights; raises NotDeployed."""
    try:
        return client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise NotDeployed(url=url, name=DEPLOYMENT) from None


def recorded(settings: NightSettings) -> dict[str, Any]:
    """Return settings as a parameter of a flow run: those that are set, for any folder."""
    found = settings.model_dump(mode="json", exclude_none=True)
    for name in ("source_file", "refused_words_file"):
        if (file := getattr(settings, name)) is not None:
            found[name] = str(file.absolute())
    return found


def _refuse_other_settings(known: FlowRun, start: NightStart) -> None:
    then, now = known.parameters.get("settings"), start.parameters["settings"]
    if then is not None and then != now:
        names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        raise NightDiffers(
            catalogue=start.catalogue,
            date=start.day,
            difference=f"it is being made with another {', another '.join(names)}",
        )
