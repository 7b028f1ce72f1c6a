"""What a night was asked for, compared with what is asked for now.

A night that exists never answers for another request: it is refused, and can be replaced.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.errors import NightDiffers
from tasks.handover_settings import HandOverSettings
from tasks.ingest import Ingested
from tasks.ledger import (
    Night,
    digest_rows,
    find_request,
    find_run_settings,
    load_prompts,
    load_rejected,
    row_facts,
)
from tasks.night_settings import RECIPE_FIELDS, NightSettings, SourceSettings
from tasks.sample_settings import SampleSettings
from tasks.settings import Settings
from tasks.stores import Stores

_OF_ROWS = ("model", "options", "variants", *RECIPE_FIELDS)  # that rows were read with
# Of the source the rows themselves are compared; the rest is no part of the pictures.
_FREE = (
    *SourceSettings.model_fields,
    *HandOverSettings.model_fields,
    *SampleSettings.model_fields,
    "previews",
)


def settings_of_run(stores: Stores, machine: Settings, run: uuid.UUID) -> Settings:
    """Return this machine's settings with those that a run was asked for; raises UnknownRun.

    A run that an earlier version planned has none, and takes this machine's.
    """
    with stores.session() as session:
        recorded = find_run_settings(session, run)
    return machine if recorded is None else machine.with_night(read_recorded(recorded))


def check_settings(stores: Stores, night: Night, asked: NightSettings) -> None:
    """Raise NightDiffers where a night's rows or its plan were asked for with other settings."""
    with stores.session() as session:
        recorded = find_request(session, night.batch).settings
    if recorded is None:
        return
    names = _OF_ROWS if night.run is None else NightSettings.model_fields
    compared = [name for name in names if name not in _FREE]
    if changes := list(_changes(read_recorded(recorded), asked, compared)):
        raise _differs(night, "; ".join(changes))


def check_rows(stores: Stores, night: Night, rows: Ingested) -> None:
    """Raise NightDiffers where a night has other rows than these."""
    with stores.session() as session:
        recorded = find_request(session, night.batch).rows_digest
        stored, refused = load_prompts(session, night.batch), load_rejected(session, night.batch)
    found = digest_rows(rows.prompts, len(rows.rejected))
    if found == (recorded or digest_rows(stored, len(refused))):
        return
    then, now = Counter(map(row_facts, stored)), Counter(map(row_facts, rows.prompts))
    fresh, gone = (now - then).total(), (then - now).total()
    counts = f"{fresh} rows are new or changed, {gone} are gone"
    if not fresh and not gone:
        counts = f"{len(rows.rejected)} rows are rejected, then it was {len(refused)}"
    raise _differs(night, counts)


def read_recorded(recorded: Mapping[str, Any]) -> NightSettings:
    """Return settings that were recorded, perhaps by another version with other names."""
    known = {name: recorded[name] for name in NightSettings.model_fields if name in recorded}
    return NightSettings(**known)


def _changes(then: NightSettings, now: NightSettings, names: list[str]) -> Iterator[str]:
    for name in names:
        before, after = getattr(then, name), getattr(now, name)
        if before != after:
            yield f"{name} was {_text(before)}, now {_text(after)}"


def _text(value: object) -> str:
    return "unset" if value is None else str(value)


def _differs(night: Night, difference: str) -> NightDiffers:
    return NightDiffers(catalogue=night.catalogue, date=night.business_date, difference=difference)
