"""Starts of a flow run's processes: what the worker that starts them notes and asks of the ledger.

Crashes are counted with the leases of what a process works on; one that dies before it takes a
lease would be started again for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from hierdiff_core.errors import HierdiffError
from tasks.database import connect, session_scope
from tasks.errors import PoisonedStart
from tasks.lease import CRASHES
from tasks.ledger import count_start, end_run, find_recipe, forget_starts
from tasks.settings import read_settings
from tasks.states import RunState

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def note_start(flow_run_id: str) -> None:
    """Count a process that is about to be started for a flow run.

    Raises PoisonedStart where too many before it died; a retry by hand counts anew.
    """
    deaths = ask(lambda session: _count(session, flow_run_id))
    if deaths is not None and deaths >= CRASHES:
        raise PoisonedStart(deaths=deaths)


def note_end(flow_run_id: str) -> None:
    """Note that a flow run's process has reported an end of its own; none of it counts."""
    ask(lambda session: forget_starts(session, flow_run_id))


def weights_of(run_id: str) -> dict[str, object] | None:
    """Return the recipe that names a run's weights, and the file of digests to check them with.

    None where weights are not to be held, or the ledger does not answer.
    """
    try:
        settings, run = read_settings(), UUID(run_id)
    except (HierdiffError, ValueError):  # the run's process will say so
        return None
    if not settings.hold_weights or settings.compile:  # each process compiles its own
        return None
    recipe = ask(lambda session: find_recipe(session, run))
    return recipe and {"recipe": recipe, "digests": str(settings.digests.absolute())}


def _count(session: Session, flow_run_id: str) -> int:
    deaths = count_start(session, flow_run_id)
    if deaths >= CRASHES:
        forget_starts(session, flow_run_id)
        end_run(session, flow_run_id, RunState.FAILED)
    return deaths


def ask(question: Callable[[Session], Answer]) -> Answer | None:
    """Return the ledger's answer, or None where it has none: the run's process will say why."""
    try:
        engine = connect(read_settings())
    except HierdiffError as error:
        log.warning("A worker asked the ledger in vain: %s", error)
        return None
    try:
        with session_scope(engine) as session:
            return question(session)
    except (HierdiffError, DBAPIError) as error:  # tables of another version among them
        log.warning("A worker asked the ledger in vain: %s", " ".join(str(error).split())[:200])
        return None
    finally:
        engine.dispose()
