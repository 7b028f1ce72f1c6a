"""Catalogues: the settings that one has of its own.

Knows where they are kept; what stands in them is a record of `tasks.catalogue_record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import null, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from tasks.records import Catalogue


def find_tuned(session: Session, catalogue: str) -> Any:
    """Return what was kept for a catalogue, as JSON values of any shape; None for nothing."""
    return session.execute(select(Catalogue.settings).where(Catalogue.name == catalogue)).scalar()


def keep_tuned(session: Session, catalogue: str, settings: Mapping[str, object]) -> None:
    """Keep settings for a catalogue, which need not have had a night yet, in place of others."""
    new = upsert(Catalogue).values(name=catalogue, settings=dict(settings))
    session.execute(
        new.on_conflict_do_update(
            index_elements=[Catalogue.name], set_={"settings": new.excluded.settings}
        )
    )


def forget_tuned(session: Session, catalogue: str) -> bool:
    """Remove a catalogue's settings; return whether it had some."""
    had = Catalogue.settings.is_not(None)
    gone = session.execute(
        update(Catalogue)
        .where(Catalogue.name == catalogue, had)
        .values(settings=null())
        .returning(Catalogue.id)
    )
    return gone.scalar() is not None
