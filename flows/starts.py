"""Starting nights on a Prefect server, as the command line does.

One flow run carries a night from its first start to its last retry, named by its idempotency key; a
run that the schedule started is found by the id that the ledger noted.
"""

from __future__ import annotations

from datetime import date
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from flows.children import find_child, queue_again
from flows.errors import NotDeployed
from tasks.ledger import RunSummary

DEPLOYMENT = "nightly/nightly"


def start_night(url: str, catalogue: str, day: date) -> UUID:
    """Start a night, or attach to it: its flow run is queued again where it has ended badly.

    Returns the flow run. Raises NotDeployed.
    """
    with get_client(sync_client=True) as client:
        known = find_child(client, night_key(catalogue, day))
        if known is None:
            return _create(client, url, catalogue, day)
        if known.state is not None and known.state.is_final() and not known.state.is_completed():
            queue_again(client, known.id)
        return known.id


def start_retry(url: str, facts: RunSummary) -> UUID:
    """Queue a run's flow run again, as the UI's Retry does; start one where there is none.

    Returns the flow run. Raises NotDeployed.
    """
    with get_client(sync_client=True) as client:
        if facts.flow_run_id is not None:
            try:
                known = client.read_flow_run(UUID(facts.flow_run_id))
            except ObjectNotFound:
                known = None
            if known is not None:
                if known.state is None or known.state.is_final():
                    queue_again(client, known.id)
                return known.id
        return _create(client, url, facts.catalogue, facts.business_date)


def night_key(catalogue: str, day: date) -> str:
    """Return the idempotency key of a night: one flow run for a catalogue and date."""
    return f"hierdiff/{catalogue}/{day.isoformat()}"


def _create(client: SyncPrefectClient, url: str, catalogue: str, day: date) -> UUID:
    try:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise NotDeployed(url=url, name=DEPLOYMENT) from None
    started = client.create_flow_run_from_deployment(
        deployment.id,
        parameters={"catalogue": catalogue, "business_date": day.isoformat()},
        idempotency_key=night_key(catalogue, day),
        name=f"{catalogue} {day}",
    )
    return started.id
