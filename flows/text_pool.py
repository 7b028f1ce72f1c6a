"""The work pool in which prompts are embedded, as the deployment `embed` says; loads no library."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.exceptions import ObjectNotFound

DEPLOYMENT = "embed/embed"
NIGHTS = "cpu"  # the pool of the nights


def runs_here() -> bool:
    """Return whether the text side is loaded where nights are run."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(DEPLOYMENT).work_pool_name == NIGHTS
        except ObjectNotFound:  # deployed by an earlier version
            return True


def move_text_side(client: SyncPrefectClient, pool: str) -> None:
    """Have prompts embedded by the workers of a pool."""
    deployment = client.read_deployment_by_name(DEPLOYMENT)
    if deployment.work_pool_name != pool:
        client.update_deployment(deployment.id, DeploymentUpdate(work_pool_name=pool))
