"""Rows whose pictures were rejected so often that no night makes another by itself."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from hierdiff_core.prompt import content_key
from tasks.ledger.claims import load_prompts
from tasks.ledger.remakes import count_remakes
from tasks.ledger.verdicts import rejected_in
from tasks.rejected import RejectedOften


def list_rejected_often(
    session: Session, run: uuid.UUID, batch: int, catalogue: str, most: int
) -> tuple[RejectedOften, ...]:
    """Return the rows of a run whose pictures are rejected and were remade `most` times."""
    reasons = rejected_in(session, run, catalogue)
    if not reasons:
        return ()
    prompts = load_prompts(session, batch, reasons)
    times = count_remakes(session, catalogue, prompts)
    return tuple(
        RejectedOften(each.row, each.name, times[each.name] + 1, reasons[content_key(each)])
        for each in prompts
        if times[each.name] >= most
    )
