"""Catalogues: the settings that one has of its own.

They are stored as JSON; `tasks.catalogue_record` defines the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, null, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from tasks.records import Catalogue


def find_tuned(session: Session, catalogue: str) -> Any:
    """Return the stored settings of a catalogue, as JSON of any shape; None where none are."""
    return session.execute(select(Catalogue.settings).where(Catalogue.name == catalogue)).scalar()


def keep_tuned(session: Session, catalogue: str, settings: Mapping[str, object]) -> None:
    """Store settings for a catalogue, which may have had no night yet; replaces earlier ones."""
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


def hold_catalogue(session: Session, catalogue: str) -> None:
    """Wait until nobody else holds a catalogue, and hold it until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(catalogue, 0))))
