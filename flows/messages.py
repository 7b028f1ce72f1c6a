"""Messages: whom the Prefect server tells of a night that needs somebody.

The channel is a notification block of Prefect's (Slack, Teams, PagerDuty, e-mail, any webhook),
which keeps its own address and secrets; hierdiff knows its name alone. Each kind of message is an
automation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events import emit_event
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from flows.automations import keep_automation
from hierdiff_core.errors import InvalidSetting
from tasks.machine_settings import MachineSettings

REJECTED = "hierdiff.night.rows-rejected"  # the event of a night that leaves out too many rows
_NAME = "hierdiff: a message about a night that "
_RUN = "prefect.flow-run."
_ENDS = {f"{_RUN}{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
_NIGHTLY = ResourceSpecification(
    {"prefect.resource.role": "flow", "prefect.resource.name": "nightly"}
)
_NIGHT, _PAGE = "{{ flow_run.name }}", "{{ flow_run|ui_url or '' }}"


def register_messages(client: SyncPrefectClient, settings: MachineSettings) -> None:
    """Have the server send messages as the settings ask, or none where no block is set.

    Raises InvalidSetting for a block that the server does not have.
    """
    wanted = (
        [] if settings.notify is None else list(messages(_find_block(client, settings), settings))
    )
    for automation in wanted:
        keep_automation(client, automation)
    names = {automation.name for automation in wanted}
    for known in client.read_automations():
        if known.name.startswith(_NAME) and known.name not in names:
            client.delete_automation(known.id)


def emit_rejected(flow_run_id: str, rejected: int) -> None:
    """Let the server know that a night, in whose flow run this is, goes on without some rows."""
    emit_event(
        REJECTED,
        {"prefect.resource.id": f"{_RUN}{flow_run_id}"},
        payload={"rejected": rejected},
    )


def messages(block: UUID, settings: MachineSettings) -> Iterable[AutomationCore]:
    """Yield the automation of each kind of message."""
    yield _message(
        block,
        "failed",
        f"{_NIGHT} failed: {{{{ flow_run.state.message }}}}",
        expect={f"{_RUN}Failed"},
    )
    yield _message(
        block,
        "does not start",
        f"{_NIGHT} was due at {{{{ flow_run.expected_start_time }}}} and no worker has taken it; "
        "does one serve the pool `cpu`?",
        expect={f"{_RUN}Late"},
    )
    yield _message(
        block,
        "is late",
        f"{_NIGHT} is not done {settings.notify_hours:g} hours after its start.",
        after={f"{_RUN}Running"},
        expect=_ENDS,
        within=timedelta(hours=settings.notify_hours),
    )
    yield _message(
        block,
        "rejected rows",
        f"{_NIGHT} goes on without {{{{ event.payload.rejected }}}} rejected rows; its report "
        "lists the reasons.",
        expect={REJECTED},
    )


def _message(
    block: UUID,
    what: str,
    body: str,
    *,
    expect: set[str],
    after: frozenset[str] | set[str] = frozenset(),
    within: timedelta | None = None,
) -> AutomationCore:
    """Return what tells of an expected event, or, with `within`, of one that stays away so long."""
    return AutomationCore(
        name=_NAME + what,
        description="Made by `hierdiff deploy`; HIERDIFF_NOTIFY names the block.",
        trigger=EventTrigger(
            posture=Posture.Reactive if within is None else Posture.Proactive,
            after=set(after),
            expect=expect,
            match=ResourceSpecification({"prefect.resource.id": f"{_RUN}*"}),
            match_related=_NIGHTLY,
            for_each={"prefect.resource.id"},
            threshold=1,
            within=within or timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block, subject=f"{_NIGHT} {what}", body=f"{body} {_PAGE}"
            )
        ],
    )


def _find_block(client: SyncPrefectClient, settings: MachineSettings) -> UUID:
    kind, _, name = (settings.notify or "").partition("/")
    try:
        return client.read_block_document_by_name(name, kind, include_secrets=False).id
    except ObjectNotFound:
        raise InvalidSetting(
            setting="notify",
            value=settings.notify,
            hint="name a notification block of the Prefect server as TYPE/NAME, such as "
            "slack-webhook/oncall; its page Blocks lists them",
        ) from None
