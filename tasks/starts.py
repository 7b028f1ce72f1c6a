"""Starts of a flow run's processes, noted by the worker that starts them.

Crashes are counted with the leases of what a process works on; one that dies before it takes a
lease would be started again for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from hierdiff_core.errors import HierdiffError
from tasks.database import connect, session_scope
from tasks.errors import PoisonedStart
from tasks.lease import CRASHES
from tasks.ledger import count_start, end_run, forget_starts
from tasks.settings import read_settings
from tasks.states import RunState

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def note_start(flow_run_id: str) -> None:
    """Count a process that is about to be started for a flow run.

    Raises PoisonedStart where too many before it died; a retry by hand counts anew.
    """
    deaths = _ask(lambda session: _count(session, flow_run_id))
    if deaths is not None and deaths >= CRASHES:
        raise PoisonedStart(deaths=deaths)


def note_end(flow_run_id: str) -> None:
    """Note that a flow run's process has reported an end of its own; none of it counts."""
    _ask(lambda session: forget_starts(session, flow_run_id))


def _count(session: Session, flow_run_id: str) -> int:
    deaths = count_start(session, flow_run_id)
    if deaths >= CRASHES:
        forget_starts(session, flow_run_id)
        end_run(session, flow_run_id, RunState.FAILED)
    return deaths


def _ask(question: Callable[[Session], Answer]) -> Answer | None:
    """Return the ledger's answer, or None where it has none: the process itself will say why."""
    try:
        engine = connect(read_settings())
    except HierdiffError as error:
        log.warning("Starts are not counted: %s", error)
        return None
    try:
        with session_scope(engine) as session:
            return question(session)
    except (HierdiffError, DBAPIError) as error:  # tables of another version among them
        log.warning("Starts are not counted: %s", " ".join(str(error).split())[:200])
        return None
    finally:
        engine.dispose()
