"""Delivery: what is done with published pictures, on their night and again after a review."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tasks.errors import ShopRefused
from tasks.handover.pictures import gather, wanted
from tasks.handover.published import Named, publish_names, under_names
from tasks.handover.result_query import Told, tell_shop
from tasks.ledger import find_published, latest_nights, note_published, summarise
from tasks.renditions import make_renditions
from tasks.report.publish import write_manifest
from tasks.settings import Settings
from tasks.stores import Stores

_NAMED = 8  # pictures that an error names


@dataclass(frozen=True)
class Delivery:
    """What has become of a night's pictures."""

    pictures: int  # of its rows, that exist
    wanted: int  # of these, that are handed over
    names: Named | None = None  # where names are asked for
    told: Told | None = None  # where a result query is set


def deliver(
    stores: Stores, settings: Settings, run: uuid.UUID, *, dry_run: bool = False
) -> Delivery:
    """Write renditions, manifest and tables as of now, then hand pictures over.

    Safe to end at any moment and to repeat: only what is new is written. A dry run writes nothing.
    Raises what `make_renditions` and `hand_over` raise, and UnknownRun.
    """
    if not dry_run:
        make_renditions(stores, settings, run)
        manifest = write_manifest(stores, settings, run)
        with stores.session() as session:
            note_published(session, run, manifest, find_published(session, run)[1])
    return hand_over(stores, settings, run, dry_run=dry_run)


def hand_over(
    stores: Stores, settings: Settings, run: uuid.UUID, *, dry_run: bool = False
) -> Delivery:
    """Publish the names of a published run's pictures, then tell the shop of them.

    Raises what the result query raises; see `tell_shop`.
    """
    pictures = gather(stores, settings, run)
    chosen = wanted(pictures, settings)
    with stores.session() as session:
        catalogue = summarise(session, run).catalogue
    names, told = None, None
    if settings.publish_names:
        if not dry_run:
            names = publish_names(stores, settings, catalogue, run, chosen)
        chosen = tuple(under_names(stores, settings, catalogue, each) for each in chosen)
    if settings.result_query:
        told = tell_shop(settings, catalogue, chosen, stores.patience, dry_run=dry_run)
    return Delivery(len(pictures), len(chosen), names, told)


def check_told(delivery: Delivery) -> None:
    """Raise ShopRefused where the shop refused pictures."""
    refused = delivery.told.refused if delivery.told is not None else ()
    if refused:
        named = [f"{name} ({why})" for name, why in refused[:_NAMED]]
        more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        raise ShopRefused(count=len(refused), names=", ".join(named) + more)


def is_latest(stores: Stores, run: uuid.UUID) -> bool:
    """Return whether a run is that of its catalogue's last date, which a shop should show."""
    with stores.session() as session:
        return run in {each.run for each in latest_nights(session)}
