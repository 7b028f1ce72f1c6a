"""Starts: processes of a flow run that have taken no lease, which counts crashes from there on.

A process that dies while it loads its libraries, or before it reaches the ledger, leaves no other
trace: the worker counts it before it is started.
"""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tasks.records import Start


def count_start(session: Session, flow_run_id: str) -> int:
    """Count a process that is about to be started; return how many before it took no lease."""
    new = insert(Start).values(flow_run_id=flow_run_id, count=1)
    counted = new.on_conflict_do_update(
        index_elements=[Start.flow_run_id], set_={"count": Start.count + 1}
    )
    return session.execute(counted.returning(Start.count)).scalar_one() - 1


def forget_starts(session: Session, flow_run_id: str) -> None:
    """Count anew from here: a lease was taken, or the process ended in order."""
    session.execute(delete(Start).where(Start.flow_run_id == flow_run_id))
