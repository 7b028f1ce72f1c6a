"""Checking: every object of a night that is shown is read once and compared with its digest.

A report shows small copies of pictures; they are made on the way, so that a large night is not read
a second time for its report.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from tasks.errors import CorruptObject, MissingObject
from tasks.ledger import (
    find_published,
    forget_images,
    forget_previews,
    load_images,
    load_plan,
    load_previews,
    reopen_subtrees,
    set_run_state,
    shards_of,
)
from tasks.object_keys import manifest_key, preview_key, report_key
from tasks.renditions import check_renditions
from tasks.report.thumbnail import small_copy, thumbnail_side
from tasks.states import RunState
from tasks.stores import Stores

log = logging.getLogger(__name__)

Small = TypeVar("Small")

_READERS = 16


@dataclass(frozen=True)
class Checked:
    """The objects of a night that were found whole, small, under the digest of the whole."""

    pictures: Mapping[str, tuple[bytes, bool]] = field(default_factory=dict)  # see `small_copy`
    previews: Mapping[str, bytes] = field(default_factory=dict)
    damaged: int = 0  # objects that are made again: pictures, and previews that were damaged


def check_night(stores: Stores, run: uuid.UUID, known: Checked | None = None) -> Checked:
    """Read what is not `known` to be whole; take back what is damaged or gone.

    What is taken back is made again by a subtree that is open now, from what is stored. A preview
    that is gone opens none: whoever lets previews expire does not want them back. It is made again
    where its subtree is run for another reason. Raises UnreachableStorage, and UnknownRun.
    """
    known = known or Checked()
    with stores.session() as session:
        plan = load_plan(session, run).plan
        images, previews = load_images(session, run), load_previews(session, run)
    side = thumbnail_side(plan.size)
    pictures, lost_pictures = _read(
        stores,
        {image.sha256: image.key for image in images.values()},
        lambda body: small_copy(body, side),
        known.pictures,
    )
    small, expired = _read(
        stores,
        {sha256: preview_key(sha256) for sha256 in previews.values()},
        lambda body: body,
        known.previews,
    )
    lost = [leaf for leaf, image in images.items() if image.sha256 not in pictures]
    unseen = [split for split, sha256 in previews.items() if sha256 not in small]
    damaged = [split for split in unseen if previews[split] not in expired]
    if lost_pictures:
        log.warning("%d pictures are gone, and are made again", len(lost_pictures))
    if expired:
        log.warning("%d previews are gone; the report goes without them", len(expired))
    with stores.session() as session:
        forget_images(session, run, lost)
        forget_previews(session, run, unseen)
        ends = [plan.leaf_segment(leaf).id for leaf in lost]
        reopen_subtrees(session, run, shards_of(session, run, [*ends, *damaged]))
        if lost or damaged:
            set_run_state(session, run, RunState.FAILED)
    return Checked(pictures, small, len(lost) + len(damaged))


def is_published(stores: Stores, run: uuid.UUID) -> bool:
    """Return whether all that a completed run shows is there and whole; else it is failed now.

    Raises UnreachableStorage, UnknownRun.
    """
    whole = not check_night(stores, run).damaged and not check_renditions(stores, run)
    keys = (manifest_key(run), report_key(run))
    with stores.session() as session:
        digests = find_published(session, run)
    written = [_is_whole(stores, key, sha256) for key, sha256 in zip(keys, digests, strict=True)]
    if written[0]:
        written += [_is_whole(stores, *table) for table in _tables(stores, run)]
    if not whole or not all(written):
        with stores.session() as session:
            set_run_state(session, run, RunState.FAILED)
    return whole and all(written)


def _tables(stores: Stores, run: uuid.UUID) -> list[tuple[str, str]]:
    """Return the keys and digests of a run's tables; manifests of earlier versions have none."""
    manifest = json.loads(stores.bucket.get(manifest_key(run)))
    return [(each["key"], each["sha256"]) for each in manifest.get("tables", [])]


def _is_whole(stores: Stores, key: str, sha256: str | None) -> bool:
    try:
        stores.bucket.get(key, sha256)
    except (CorruptObject, MissingObject) as damage:
        log.warning("%s", damage)
        return False
    return True


def _read(
    stores: Stores,
    keys: Mapping[str, str],
    shrink: Callable[[bytes], Small],
    known: Mapping[str, Small],
) -> tuple[dict[str, Small], set[str]]:
    """Return what is kept of the objects that are whole, by sha256, and which are gone."""
    gone: set[str] = set()

    def read(sha256: str) -> Small | None:
        if sha256 in known:
            return known[sha256]
        try:
            return shrink(stores.bucket.get(keys[sha256], sha256))
        except MissingObject:
            gone.add(sha256)
        except CorruptObject as damage:
            log.warning("%s", damage)
        return None

    with ThreadPoolExecutor(_READERS) as pool:
        bodies = pool.map(read, keys)
        found = {each: body for each, body in zip(keys, bodies, strict=True) if body is not None}
    return found, gone
