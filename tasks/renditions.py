"""Renditions of a night: made at publish of its stored pictures, and kept while they are whole.

A rendition is derived: a lost or damaged one is made again, and one that any night has made of the
same picture in the same way is not made twice.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hierdiff_core.png import read_provenance
from hierdiff_core.rendition import FORMATS, Rendered, Rendition, render
from tasks.errors import CorruptObject, MissingObject, UnmakeableRendition
from tasks.ledger import (
    StoredImage,
    StoredRendition,
    find_renditions,
    forget_renditions,
    load_images,
    load_renditions,
    record_renditions,
)
from tasks.object_keys import RENDITIONS
from tasks.settings import Settings
from tasks.signing import Signing, open_signing, sign_file
from tasks.stores import Stores

log = logging.getLogger(__name__)

_READERS = 16
_AT_ONCE = 64  # pictures whose files are entered in the ledger together: a crash loses so many


@dataclass(frozen=True, slots=True)
class Making:
    """How a rendition is made."""

    rendition: Rendition
    signing: Signing | None

    @property
    def words(self) -> str:
        """Everything that decides its bytes, but for what a signature is free in."""
        signed = "" if self.signing is None else f", {self.signing.mark}"
        return self.rendition.words + signed


Wanted = Mapping[str, Making]  # by name


def read_wanted(settings: Settings) -> Wanted:
    """Return the renditions that are made of each picture here.

    Where files are signed there is always a PNG of full size, since the picture itself, which is
    named by its digest, cannot be signed. Raises InvalidSetting.
    """
    signing, asked = open_signing(settings), settings.wanted_renditions
    if signing is not None and "png" not in {each.name for each in asked}:
        asked = (*asked, Rendition("png"))
    return {each.name: Making(each, signing) for each in asked}


def make_renditions(stores: Stores, settings: Settings, run: uuid.UUID) -> int:
    """Make what a run's renditions are missing, all others being found whole; return how many.

    Raises InvalidSetting, UnmakeableRendition, SigningFailed, and what the bucket raises.
    """
    wanted = read_wanted(settings)
    _settle(stores, run, wanted)
    check_renditions(stores, run)
    with stores.session() as session:
        images = load_images(session, run)
        there = {(each.leaf, each.name) for each in load_renditions(session, run)}
    missing = {
        leaf: [each for name, each in wanted.items() if (leaf, name) not in there]
        for leaf in images
    }
    return _make(stores, run, images, {leaf: some for leaf, some in missing.items() if some})


def check_renditions(stores: Stores, run: uuid.UUID) -> int:
    """Read a run's renditions, take back what is damaged or gone, and return how many that are."""
    with stores.session() as session:
        rows = load_renditions(session, run)
    with ThreadPoolExecutor(_READERS) as pool:
        whole = pool.map(lambda row: _is_whole(stores, row), rows)
        gone = [(row.leaf, row.name) for row, good in zip(rows, whole, strict=True) if not good]
    if gone:
        log.warning("%d renditions are damaged or gone, and are made again", len(gone))
        with stores.session() as session:
            forget_renditions(session, run, gone)
    return len(gone)


def rendition_key(row: StoredRendition) -> str:
    """Return the key of a rendition's object."""
    return RENDITIONS[row.name.partition("-")[0]].key(row.sha256)


def _settle(stores: Stores, run: uuid.UUID, wanted: Wanted) -> None:
    """Take back what is not wanted, and take over what another run has made."""
    words = {name: each.words for name, each in wanted.items()}
    with stores.session() as session:
        images, rows = load_images(session, run), load_renditions(session, run)
        stale = [
            (each.leaf, each.name)
            for each in rows
            if words.get(each.name) != each.made_as or images[each.leaf].sha256 != each.picture
        ]
        forget_renditions(session, run, stale)
        there = {(each.leaf, each.name) for each in rows} - set(stale)
        pictures = {leaf: image.sha256 for leaf, image in images.items()}
        found = find_renditions(session, pictures, list(words.values()))
        record_renditions(
            session, run, [each for each in found if (each.leaf, each.name) not in there]
        )


def _is_whole(stores: Stores, row: StoredRendition) -> bool:
    try:
        stores.bucket.get(rendition_key(row), row.sha256)
    except (CorruptObject, MissingObject):
        return False
    return True


def _make(
    stores: Stores,
    run: uuid.UUID,
    images: Mapping[int, StoredImage],
    missing: Mapping[int, Sequence[Making]],
) -> int:
    """Make and store files, then enter them, some pictures at a time."""
    made = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for some in _in_lots(missing):
            files = pool.map(lambda leaf: _files(stores, leaf, images[leaf], missing[leaf]), some)
            rows = [row for each in files for row in each]
            with stores.session() as session:
                record_renditions(session, run, rows)
            made += len(rows)
    return made


def _in_lots(leaves: Iterable[int]) -> Iterator[Sequence[int]]:
    waiting = list(leaves)
    for first in range(0, len(waiting), _AT_ONCE):
        yield waiting[first : first + _AT_ONCE]


def _files(
    stores: Stores, leaf: int, image: StoredImage, wanted: Sequence[Making]
) -> list[StoredRendition]:
    """Return the files of one picture, stored."""
    master = stores.bucket.get(image.key, image.sha256)
    return [_file(stores, leaf, image.sha256, master, each) for each in wanted]


def _file(
    stores: Stores, leaf: int, picture: str, master: bytes, making: Making
) -> StoredRendition:
    rendition = making.rendition
    kind, form = RENDITIONS[rendition.format], FORMATS[rendition.format]
    made = _rendered(picture, master, rendition)
    body = made.body
    if making.signing is not None:
        body = sign_file(making.signing, body, form.content_type, read_provenance(master))
    sha256 = hashlib.sha256(body).hexdigest()
    stores.bucket.put(kind.key(sha256), body, form.content_type)
    whose = (leaf, rendition.name, picture, making.words)
    return StoredRendition(*whose, sha256, len(body), made.width, made.height)


def _rendered(picture: str, master: bytes, rendition: Rendition) -> Rendered:
    try:
        return render(master, rendition)
    except (OSError, ValueError) as error:  # Pillow's, for a side that the format does not allow
        reason = str(error) or type(error).__name__
        facts = {"rendition": rendition.name, "picture": picture, "reason": reason}
        raise UnmakeableRendition(**facts) from None
