"""The files of `hierdiff plan --export` and `hierdiff run --plan`."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from hierdiff_core.whole_file import write_whole
from tasks.carrying import export_night, export_plan, import_night
from tasks.catalogue_settings import PlannedCatalogue
from tasks.exported_night import pack_night, unpack_night
from tasks.ingest import Ingested
from tasks.ledger import Night, claim_night, find_night, replace_night
from tasks.night_settings import NightSettings
from tasks.settings import Settings
from tasks.stores import Stores


def export_stored(stores: Stores, catalogue: str, day: date, file: Path) -> str | None:
    """Write the night that has a run; return the run, or None where it has none."""
    with stores.session() as session:
        night = find_night(session, catalogue, day)
    if night is None or night.run is None:
        return None
    write_whole(file, pack_night(export_night(stores, night, night.run)))
    return str(night.run)


def write_export(
    stores: Stores, settings: Settings, file: Path, rows: Ingested, planned: PlannedCatalogue
) -> None:
    """Write a night that was planned just now and is not stored."""
    write_whole(file, pack_night(export_plan(stores, settings, rows, planned)))


def take_plan(
    stores: Stores, settings: Settings, catalogue: str, day: date, file: Path, replace: bool
) -> tuple[Night, NightSettings]:
    """Store the night of a file as that of a catalogue and date; return it with its settings.

    Raises BadPlanFile before anything is stored, and what `import_night` raises.
    """
    exported = unpack_night(file.read_bytes(), file.name)
    with stores.session() as session:
        if replace:
            replace_night(session, catalogue, day)
        claimed = claim_night(session, catalogue, day)
    asked = import_night(stores, settings, claimed, exported)
    with stores.session() as session:
        return claim_night(session, catalogue, day), asked
