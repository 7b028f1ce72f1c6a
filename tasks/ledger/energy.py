"""What the workers of a run used of energy, summed over attempts and shards."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tasks.records import EnergyRow


@dataclass(frozen=True, slots=True)
class PartEnergy:
    """What one part of a run's workers used."""

    part: str  # cpu or gpu
    joules: float | None  # of those attempts that could measure it
    reason: str  # why an attempt could not; empty where all could


def add_energy(
    session: Session, run: uuid.UUID, part: str, joules: float | None, reason: str
) -> None:
    """Add what an attempt used, or say why that is not known."""
    new = insert(EnergyRow).values(run_id=run, part=part, joules=joules, reason=reason)
    both = func.coalesce(EnergyRow.joules, 0.0) + new.excluded.joules
    session.execute(
        new.on_conflict_do_update(
            index_elements=[EnergyRow.run_id, EnergyRow.part],
            set_={
                "joules": func.coalesce(both, EnergyRow.joules),
                "reason": func.coalesce(func.nullif(new.excluded.reason, ""), EnergyRow.reason),
            },
        )
    )


def load_energy(session: Session, run: uuid.UUID) -> tuple[PartEnergy, ...]:
    """Return what was used by part; nothing where no attempt has ended."""
    columns = (EnergyRow.part, EnergyRow.joules, EnergyRow.reason)
    found = session.execute(select(*columns).filter_by(run_id=run).order_by(EnergyRow.part))
    return tuple(PartEnergy(*row) for row in found)
