"""What the Prefect server does by itself when a flow run dies silently.

Two automations: a run whose heartbeats stop is marked Crashed, and a crashed run is put back in
its queue. What a run has already finished is in the ledger, which also stops a run that crashes
again and again.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.stack.orchestrator import HEARTBEAT

MISSED = 3  # heartbeats missed before a run counts as dead
FLOWS = ["nightly", "subtree", "embed"]
BREATH = 15  # seconds between a crash and the next try
ENDS = ["Completed", "Failed", "Cancelled", "Crashed"]
MOVES = ["AwaitingRetry", "Scheduled", "Pending", "Running", "Completed", "Cancelled"]

_OURS = ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": FLOWS})


def automations() -> list[AutomationCore]:
    """The automations as the server wants them."""
    return [_silent_run_crashed(), _crashed_run_queued()]


def register_automations(client: SyncPrefectClient) -> None:
    """Create each automation, or bring the one of that name up to date.

    One that is up to date is not touched: an update makes the server forget whose heartbeats it
    was waiting for, and with them the runs that died while it was down.
    """
    for automation in automations():
        keep_automation(client, automation)


def keep_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or bring the one of its name up to date."""
    known = client.read_automations_by_name(automation.name)
    if not known:
        client.create_automation(automation)
    elif _content(known[0]) != _content(automation):
        client.update_automation(known[0].id, automation)


def _content(automation: AutomationCore) -> tuple[object, ...]:
    return automation.description, automation.trigger, automation.actions


def _silent_run_crashed() -> AutomationCore:
    beat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name="hierdiff: a run without heartbeats has crashed",
        description=f"Marks a run Crashed when {MISSED} of its heartbeats are missing.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={beat},
            expect={beat, *(f"prefect.flow-run.{end}" for end in ENDS)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=MISSED * HEARTBEAT),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, name=None, message="Its heartbeats stopped.", force=False
            )
        ],
    )


def _crashed_run_queued() -> AutomationCore:
    return AutomationCore(
        name="hierdiff: a crashed run is queued again",
        description=f"Schedules the same run again after {BREATH} s; it resumes from the ledger.",
        trigger=EventTrigger(
            # A worker that is given the run back before it has noted its end stops altogether
            # (its limiter still counts the run), so this waits for nothing to happen first.
            posture=Posture.Proactive,
            after={"prefect.flow-run.Crashed"},
            expect={f"prefect.flow-run.{state}" for state in MOVES},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=BREATH),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED,
                name="AwaitingRetry",
                message="Crashed; queued again to resume.",
                force=False,
            )
        ],
    )
