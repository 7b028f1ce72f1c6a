"""Delivery: what is done with published pictures, on their night and again after a review."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tasks.handover.pictures import gather, wanted
from tasks.handover.published import Named, publish_names
from tasks.ledger import find_published, latest_nights, note_published, summarise
from tasks.renditions import make_renditions
from tasks.report.publish import write_manifest
from tasks.settings import Settings
from tasks.stores import Stores


@dataclass(frozen=True)
class Delivery:
    """What has become of a night's pictures."""

    pictures: int  # of its rows, that exist
    wanted: int  # of these, that are handed over
    names: Named | None = None  # where names are asked for


def deliver(stores: Stores, settings: Settings, run: uuid.UUID) -> Delivery:
    """Write renditions, manifest and tables as of now, then hand pictures over.

    Safe to end at any moment and to repeat: only what is new is written. Raises what
    `make_renditions` raises, and UnknownRun.
    """
    make_renditions(stores, settings, run)
    manifest = write_manifest(stores, settings, run)
    with stores.session() as session:
        note_published(session, run, manifest, find_published(session, run)[1])
    return hand_over(stores, settings, run)


def hand_over(stores: Stores, settings: Settings, run: uuid.UUID) -> Delivery:
    """Hand over the pictures of a run that is published; see `deliver`."""
    pictures = gather(stores, settings, run)
    chosen = wanted(pictures, settings)
    names = None
    if settings.publish_names:
        with stores.session() as session:
            catalogue = summarise(session, run).catalogue
        names = publish_names(stores, settings, catalogue, run, chosen)
    return Delivery(len(pictures), len(chosen), names)


def is_latest(stores: Stores, run: uuid.UUID) -> bool:
    """Return whether a run is that of its catalogue's last date, which a shop should show."""
    with stores.session() as session:
        return run in {each.run for each in latest_nights(session)}
